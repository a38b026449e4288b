"""The page of an evaluation: everything is in it, nothing breaks out, and the music is to be heard."""

import json
import re
import shutil
import time
from html.parser import HTMLParser

import numpy as np
import pytest
import test_tables
from test_tables import row

from bachkeras.evaluation import columns, report, tables
from bachkeras.evaluation.report import Shown
from bachkeras.music.score import NOTE, Meter, Score, Tempo

VOID = {"meta", "link", "img", "input", "br", "hr"}
EVIL = "<b>evil</b></script>{{ 1 + 1 }} $x$ \"'&"
BACH = tables.bach("jsb_quarter", "by rank")


def score(*notes, **values):
    """A score in 4/4 of (start, end, pitch) in quarters."""
    rows = [(round(start * 480), round(end * 480), pitch, 0) for start, end, pitch in notes]
    return Score(np.array(rows, NOTE), **({"parts": ("Piano",), "meters": (Meter(0, 4, 4),)} | values))


def chords(bars, voices):
    """Whole notes in as many voices, all of them struck at once."""
    return score(*[(4 * i, 4 * i + 4, 48 + 5 * k + i % 2) for i in range(bars) for k in range(voices)])


EXAMPLE, _, *OTHERS = test_tables.ROWS
FLOORS = {"chord_type": {"mean": 0.0067, "max": 0.0090}, "duration": {"mean": None, "max": None}}
ROWS = [
    EXAMPLE,
    row(EVIL, notes="a <i>GAN</i> has no likelihood", ngram_jsd=[0.0061, 0.064, None, 0.345], contaminated=True),
    *(other | {"floors": FLOORS} if other["model"] == "real bach" else other for other in OTHERS),
]


def shown():
    """A model with everything, and one with little and an evil name; Bach."""
    triangle = np.tril(np.ones((2, 6, 6)))
    history = {
        "epoch": [0, 1, 2],
        "seconds": [1.0, 2.0, 3.0],
        "loss": [9.0, 8.0, 7.5],
        "val_loss": [9.0, None, 8.0],
        "val_ending_nats": [float("nan"), None, 3.0],
    }
    shares = {"intervals": {-2: 0.5, 2: 0.25, 19: 0.25}, "durations": {0.5: 0.25, 1.0: 0.5, 1 / 3: 0.25}}
    attention = triangle / triangle.sum(-1, keepdims=True)
    models = [
        Shown("q88", [chords(2, 4), chords(1, 8)], **shares, history=history, attention=attention, like=BACH),
        Shown(EVIL, [score((0, 2, 60), title=EVIL), score(end=960)], {}, {}, like=BACH),
    ]
    return models, [Shown(BACH, [chords(3, 4)], **shares)]


class Page(HTMLParser):
    """Tags with their attributes, the text outside scripts and styles, and what the scripts hold."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.text, self.scripts, self.open = [], "", [], []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] != "style":
            self.text += data

    def values(self, attribute):
        return [attributes[attribute] for _, attributes in self.tags if attribute in attributes]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    report.write(path, ROWS, *shown())
    return path


@pytest.fixture(scope="module")
def page(written):
    return Page(written.read_text("utf-8"))


def test_tags_are_closed_ids_are_one_thing_and_links_lead_somewhere(page):
    assert page.open == []
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    inner = [link[1:] for link in page.values("href") if link.startswith("#")]
    assert set(inner) <= set(ids)
    assert {"figures", "meanings", "shown-1", "shown-2", "shown-3", "meaning-hold_ratio", "note-1-1"} <= set(inner)


def test_nothing_is_fetched(written, page):
    for link in page.values("src") + page.values("href"):
        assert link.startswith(("#", "data:")), link[:80]
    source = written.read_text("utf-8")
    assert not re.search(r"https?://|//[a-z]+\.|@import|url\(|fetch\(", re.sub(r"base64,[\w+/=]*", "", source))
    assert source.count('rel="icon" href="data:,"') == 1


def test_every_model_figure_and_meaning_is_there(page):
    for text in ("q88", EVIL, "real bach", "chord trigram", BACH, "s16", "1,834,120", "4.581", "6.102", "9.4", "0.89"):
        assert text in page.text
    for column in columns.SECTIONS["Style of the samples"][:2]:
        assert column.title in page.text
        assert column.meaning in page.text
    for column in columns.SECTIONS["Codes"]:
        assert column.title not in page.text
    assert "Protocol Q88, samples 77, temperature 1, top-p 1, seed 0." in page.text
    assert "a <i>GAN</i> has no likelihood" in page.text


def test_a_missing_figure_is_a_dash(page):
    assert "–" in page.text
    assert "0.006 0.064 - 0.345" in page.text
    assert "KL" not in re.findall(r"\w+", page.text)
    assert not re.search(r"\b(nan|None|inf)\b", page.text, re.IGNORECASE)
    assert not re.search("nan", "".join(page.scripts), re.IGNORECASE)


def test_names_stay_text(written, page):
    source = written.read_text("utf-8")
    assert "<b>" not in source
    assert "<i>" not in source
    assert source.count("</script>") == len(page.scripts)


def test_pictures_have_a_text_and_buttons_a_name(page):
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    # Five samples, two shares a portrait, two quantities of training, two views of attention.
    assert len(pictures) == 5 + 3 * 2 + 2 + 2
    assert all(len(picture["alt"]) > 20 for picture in pictures)
    names = [attributes["aria-label"] for tag, attributes in page.tags if tag in ("button", "input")]
    assert len(names) == 2 * 4
    assert len(set(names)) == len(names)


def test_bachs_row_leads_to_his_music(page):
    leads = [attributes["href"] for tag, attributes in page.tags if tag == "a" and attributes["href"] == "#shown-1"]
    assert len(leads) == 2  # From the head of the page and from the table; the other table's Bach is not shown.


def test_the_floors_stand_above_the_table(page):
    assert page.text.count("Noise floors, as many training pieces from the others") == 2
    assert "chord types 0.0067 (0.0090)" in page.text


def test_a_player_has_the_notes_of_its_score(page):
    notes = [json.loads(script) for script in page.scripts[:-1]]
    assert [len(one) // 3 for one in notes] == [12, 8, 8, 1]  # The empty score has no player.
    assert notes[-1] == [0, 1500, 60]
    assert page.values("data-seconds") == ["9.000", "6.000", "3.000", "1.500"]


def test_tempos_are_heard():
    notes = score((0, 2, 60), (2, 6, 62), tempos=(Tempo(960, 120), Tempo(1920, 60)))
    assert report._seconds(notes, np.array([0, 960, 1920, 2880])).tolist() == [0, 1.5, 2.5, 4.5]


def test_the_same_values_are_the_same_bytes(written, tmp_path):
    report.write(tmp_path / "report.html", ROWS, *shown())
    assert (tmp_path / "report.html").read_bytes() == written.read_bytes()


def test_one_name_twice_is_two_portraits(tmp_path):
    report.write(tmp_path / "report.html", [], [Shown("q88", [], {}, {})] * 2, [])
    assert Page((tmp_path / "report.html").read_text("utf-8")).values("id")[-2:] == ["shown-1", "shown-2"]


def test_no_rows_and_nothing_shown_is_a_page_too(tmp_path):
    report.write(tmp_path / "report.html", [], [], [])
    assert Page((tmp_path / "report.html").read_text("utf-8")).open == []


def test_a_model_beside_nobody_is_an_error_and_leaves_nothing_behind(tmp_path):
    with pytest.raises(ValueError, match=r"Nobody is there .* Received: like='Mozart'"):
        report.write(tmp_path / "report.html", [], [Shown("q88", [], {}, {}, like="Mozart")], [])
    assert list(tmp_path.iterdir()) == []


LISTEN = """
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (node, ...rest) {
  if (node instanceof AudioDestinationNode) {
    if (!window.meter) {
      window.meter = new AnalyserNode(this.context, { fftSize: 32768 });
      window.contexts = new Set();
    }
    contexts.add(this.context);
    connect.call(this, meter);
  }
  return connect.call(this, node, ...rest);
};
window.peak = () => {
  const samples = new Float32Array(meter.fftSize);
  meter.getFloatTimeDomainData(samples);
  return samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
};
"""


@pytest.fixture
def browser(tmp_path):
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in programs:
        pytest.skip("needs chromium and chromedriver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    flags = "headless=new no-sandbox disable-gpu disable-quic no-first-run disable-background-networking "
    flags += "disable-component-update disable-sync autoplay-policy=no-user-gesture-required"
    for flag in (*flags.split(), f"user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(executable_path=programs[1]))
    yield driver
    driver.quit()


def width(browser, pixels):
    size = {"width": pixels, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


@pytest.mark.slow
def test_in_a_browser(browser, written):
    from selenium.webdriver import ActionChains, Keys

    browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": LISTEN})
    browser.get(written.as_uri())
    run = browser.execute_script
    for pixels in (1600, 400):
        width(browser, pixels)
        assert run("return innerWidth") == pixels
        assert run("return document.documentElement.scrollWidth") <= pixels
        assert run("return [...document.images].every((image) => image.complete && image.naturalWidth > 100)")
    buttons = browser.find_elements("css selector", ".player button")
    bars = browser.find_elements("css selector", ".player input")
    assert len(buttons) == 4
    assert all(button.is_displayed() for button in buttons)

    def label(i):
        return buttons[i].get_attribute("aria-label")

    def place(i):
        return float(bars[i].get_property("value"))

    buttons[0].click()
    assert label(0) == f"Stop sample 1 of {BACH}"
    time.sleep(1)
    earlier = place(0)
    time.sleep(0.5)
    assert place(0) > earlier > 0
    assert 0.05 < run("return peak()") < 1
    assert run("return [...contexts].map((context) => context.state)") == ["running"]
    buttons[2].click()  # Eight voices, all at once.
    assert label(0) == f"Play sample 1 of {BACH}"
    assert label(2) == "Stop sample 2 of q88"
    stopped = place(0)
    time.sleep(1.2)
    assert 0.05 < run("return peak()") < 1
    assert place(0) == stopped
    buttons[2].click()
    assert label(2) == "Play sample 2 of q88"
    time.sleep(1.2)
    assert run("return peak()") < 0.001
    bars_at = place(2)
    # The keyboard: an arrow moves by a hundredth; a drag that changed nothing does not hold the bar.
    bars[2].send_keys(Keys.ARROW_RIGHT)
    assert place(2) - bars_at == pytest.approx(float(bars[2].get_property("max")) / 100, rel=0.01)
    assert re.fullmatch(r"\d:\d\d", bars[2].get_attribute("aria-valuetext"))
    buttons[2].click()
    run("arguments[0].dispatchEvent(new Event('input')); arguments[0].dispatchEvent(new Event('pointerup'))", bars[2])
    held = place(2)
    time.sleep(0.5)
    assert place(2) > held
    buttons[2].click()
    # A click on a bar goes there, also while it plays; at its end the piece stops by itself.
    buttons[1].click()
    ActionChains(browser).move_to_element(bars[1]).click().perform()
    time.sleep(0.5)
    assert 3 < place(1) < 4.5
    assert label(1) == "Stop sample 1 of q88"
    time.sleep(3.5)
    assert label(1) == "Play sample 1 of q88"
    assert place(1) == 0
    assert run("return contexts.size") == 1
    assert browser.get_log("browser") == []
