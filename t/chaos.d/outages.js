// When what was out of order: a request may fail only while something that it touches is.
'use strict';

class Outages {
  constructor() {
    this.all = [];
  }

  /** From now until the function that it gives is called. */
  begin(what, kind) {
    const outage = { what, kind, from: Date.now(), to: Infinity };
    this.all.push(outage);
    return () => { outage.to = Date.now(); };
  }

  /** Whether there was one of these at any time between the two. */
  between(from, to, ...what) {
    return this.all.some((outage) => what.includes(outage.what) && outage.from <= to && outage.to >= from);
  }

  /** Whether PostgreSQL may have lost what was read at one time and came again at another. */
  lost(read, again) {
    return this.between(read, again, 'lost commits');
  }
}

module.exports = { Outages };
