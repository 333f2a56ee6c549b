// A sequence of 1, 2, 3, … as one client gets it: each number once and in order. After PostgreSQL has lost commits, some of it again.
'use strict';

class Numbered {
  constructor(what, outages) {
    Object.assign(this, { what, outages });
    this.next = 1;
    this.newest = 0;
    this.read = [];       // when each number came
    this.repeated = 0;
  }

  take(number) {
    const now = Date.now();
    if (number > this.next) throw new Error(`${this.what}: ${number} came, and ${this.next} had not`);
    if (number <= this.newest) {
      if (!this.outages.lost(this.read[number], now)) throw new Error(`${this.what}: ${number} came again, after ${this.newest}`);
      this.repeated++;
    }
    this.read[number] = now;
    this.newest = Math.max(this.newest, number);
    this.next = number + 1;
  }

  /** Whether all up to this one have come, and nothing else is the newest word. */
  complete(last) { return this.newest === last && this.next === last + 1; }
}

module.exports = { Numbered };
