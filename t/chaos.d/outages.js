// When what was out of order: a request may fail only while something that it touches is.
'use strict';

class Outages {
  constructor() {
    this.all = [];
  }

  /** From now until the function that it gives is called. */
  begin(what) {
    const outage = { what, from: Date.now(), to: Infinity };
    this.all.push(outage);
    return () => { outage.to = Date.now(); };
  }

  /** Whether there was one of these at any time between the two. */
  between(from, to, ...what) {
    return this.all.some((outage) => what.includes(outage.what) && outage.from <= to && outage.to >= from);
  }

  /** How much of a time something of the kind was out of order, from 0 to 1. */
  share(what, from, to) {
    const spans = this.all.filter((outage) => outage.what === what).map((outage) => [Math.max(from, outage.from), Math.min(to, outage.to)]);
    let covered = 0, reached = from;
    for (const [begin, end] of spans.sort(([a], [b]) => a - b)) {
      covered += Math.max(0, end - Math.max(begin, reached));
      reached = Math.max(reached, end);
    }
    return covered / (to - from);
  }

  /** Whether PostgreSQL may have lost what was read at one time and came again at another. */
  lost(read, again) {
    return this.between(read, again, 'lost commits');
  }
}

module.exports = { Outages };
