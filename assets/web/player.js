// Time as an index: playing never computes, it only moves the cursor.

const RATE = 7; // columns per second at normal speed
const LONGEST = 9; // seconds a long film may take

export class Player {
  constructor(move, changed) {
    this.move = move; // move(by) -> true while there is somewhere to go
    this.changed = changed;
    this.speed = 1;
    this.playing = false;
  }

  toggle(length) {
    if (this.playing) this.stop();
    else this.start(length);
  }

  start(length) {
    this.playing = true;
    this.rate = Math.max(RATE, length / LONGEST);
    this.last = performance.now();
    this.owed = 0;
    this.changed(true);
    const tick = (now) => {
      if (!this.playing) return;
      this.owed += Math.min(0.5, (now - this.last) / 1000) * this.rate * this.speed;
      this.last = now;
      const by = Math.floor(this.owed);
      if (by > 0) {
        this.owed -= by;
        if (!this.move(by)) {
          this.stop();
          return;
        }
      }
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }

  stop() {
    if (!this.playing) return;
    this.playing = false;
    this.changed(false);
  }
}
