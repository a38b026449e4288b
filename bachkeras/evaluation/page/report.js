"use strict";
(() => {
  const LOOK_AHEAD = 2; // Seconds: a page in the background wakes only once in one.
  const EVERY = 250; // Milliseconds between two looks.
  const DELAY = 0.1; // Seconds from the click to the first note.
  const RAMP = 0.06; // Seconds in which a note swells; it fades in as many.
  const LOUDEST = 0.8; // No sum of notes is above.
  const DETUNE = 4; // Cents between the two pipes of a note and its pitch.
  const HARMONICS = [0, 1, 0.5, 0.3, 0.18, 0.1, 0.07, 0.04, 0.03];

  let context = null;
  let tone = null;
  let playing = null;

  // Like an organ's soft stop. One context for the page: browsers allow few.
  function openSound() {
    if (!context) {
      context = new AudioContext();
      tone = context.createPeriodicWave(new Float32Array(HARMONICS.length), new Float32Array(HARMONICS));
    }
    context.resume();
  }

  function clock(seconds) {
    return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
  }

  // Numbers in threes: start and length in milliseconds, pitch.
  function readNotes(player) {
    const numbers = JSON.parse(player.querySelector("script").textContent);
    const notes = [];
    for (let i = 0; i < numbers.length; i += 3) {
      notes.push({ start: numbers[i] / 1000, end: (numbers[i] + numbers[i + 1]) / 1000, pitch: numbers[i + 2] });
    }
    return notes;
  }

  function mostAtOnce(notes) {
    const changes = notes.flatMap((note) => [[note.start, 1], [note.end, -1]]);
    changes.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    let now = 0;
    return changes.reduce((most, change) => Math.max(most, (now += change[1])), 0);
  }

  class Playback {
    constructor(player, from) {
      this.player = player;
      this.from = from;
      this.zero = context.currentTime + DELAY - from; // When the piece would have begun, on the context's clock.
      this.notes = player.notes.filter((note) => note.end > from);
      this.next = 0;
      // Where a note follows another the swell and the fade add up to one, so never more than this sounds.
      this.gain = LOUDEST / Math.max(4, player.most);
      this.out = new GainNode(context);
      this.out.connect(context.destination);
      this.schedule();
      this.timer = setInterval(() => this.schedule(), EVERY);
      this.frame = requestAnimationFrame(() => this.draw());
    }

    get position() {
      return Math.max(context.currentTime - this.zero, this.from);
    }

    schedule() {
      const until = context.currentTime + LOOK_AHEAD - this.zero;
      while (this.next < this.notes.length && this.notes[this.next].start < until) this.sound(this.notes[this.next++]);
      if (this.position > this.player.seconds + RAMP) this.player.stop(0);
    }

    sound(note) {
      const start = this.zero + Math.max(note.start, this.from);
      const end = this.zero + note.end;
      const swell = Math.min(RAMP, end - start);
      const peak = (this.gain * swell) / RAMP;
      const volume = new GainNode(context, { gain: 0 });
      volume.gain.setValueAtTime(0, start);
      volume.gain.linearRampToValueAtTime(peak, start + swell);
      volume.gain.setValueAtTime(peak, end);
      volume.gain.linearRampToValueAtTime(0, end + RAMP);
      volume.connect(this.out);
      const half = new GainNode(context, { gain: 0.5 });
      half.connect(volume);
      for (const detune of [-DETUNE, DETUNE]) {
        const frequency = 440 * 2 ** ((note.pitch - 69) / 12);
        const pipe = new OscillatorNode(context, { frequency, detune, periodicWave: tone });
        pipe.connect(half);
        pipe.start(start);
        pipe.stop(end + RAMP);
      }
    }

    draw() {
      this.player.show(this.position);
      this.frame = requestAnimationFrame(() => this.draw());
    }

    stop() {
      clearInterval(this.timer);
      cancelAnimationFrame(this.frame);
      this.out.gain.setTargetAtTime(0, context.currentTime, 0.02);
      setTimeout(() => this.out.disconnect(), 200);
    }
  }

  class Player {
    constructor(element) {
      this.element = element;
      this.seconds = Number(element.dataset.seconds);
      this.notes = readNotes(element);
      this.most = mostAtOnce(this.notes);
      this.button = element.querySelector("button");
      this.bar = element.querySelector("input");
      this.time = element.querySelector(".time");
      this.dragged = false;
      this.button.addEventListener("click", () => (this.playback ? this.stop() : this.start()));
      this.bar.addEventListener("input", () => {
        this.dragged = true;
        this.tell(this.bar.value);
      });
      // A drag that ends where it began changes nothing.
      for (const end of ["pointerup", "pointercancel", "blur"]) {
        this.bar.addEventListener(end, () => (this.dragged = false));
      }
      this.bar.addEventListener("change", () => {
        this.dragged = false;
        if (this.playback) this.start();
      });
      this.show(0); // Browsers keep what was there before a reload.
      element.hidden = false;
    }

    start() {
      openSound();
      if (playing) playing.stop();
      playing = this;
      this.playback = new Playback(this, Number(this.bar.value));
      this.label("Stop");
    }

    // Stays where it is, or goes to a place.
    stop(place) {
      this.playback.stop();
      this.playback = null;
      playing = null;
      if (place !== undefined) this.show(place);
      this.label("Play");
    }

    label(action) {
      this.element.classList.toggle("playing", action === "Stop");
      this.button.setAttribute("aria-label", `${action} ${this.element.dataset.label}`);
    }

    show(position) {
      if (this.dragged) return;
      this.bar.value = position;
      this.tell(position);
    }

    tell(position) {
      const text = clock(position);
      if (text === this.time.textContent) return;
      this.time.textContent = text;
      this.bar.setAttribute("aria-valuetext", text);
    }
  }

  for (const element of document.querySelectorAll(".player")) new Player(element);
})();
