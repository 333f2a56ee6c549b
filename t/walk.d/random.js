// The one source of chance of a walk. Everything that is decided comes from a fork named after what it is for, so that how often a client
// had to ask (which depends on timing) never changes what the world does next.
'use strict';

const { createHash } = require('node:crypto');

class Random {
  constructor(name) {
    this.name = name;
    const hash = createHash('sha256').update(name).digest();
    this.state = [0, 4, 8, 12].map((at) => hash.readUInt32LE(at));
  }

  /** Another source, which the same name always makes the same. */
  fork(...names) { return new Random([this.name, ...names].join('/')); }

  /** sfc32: a whole number of 32 bits. */
  bits() {
    const [a, b, c, counter] = this.state;
    const sum = (a + b + counter) >>> 0;
    this.state = [(b ^ (b >>> 9)) >>> 0, (c + (c << 3)) >>> 0, (((c << 21) | (c >>> 11)) + sum) >>> 0, (counter + 1) >>> 0];
    return sum;
  }

  /** 0 to n - 1. */
  below(n) { return Math.floor((this.bits() / 2 ** 32) * n); }
  between(low, high) { return low + this.below(high - low + 1); }
  chance(p) { return this.bits() / 2 ** 32 < p; }
  pick(list) { return list[this.below(list.length)]; }

  shuffle(list) {
    const copy = [...list];
    for (let i = copy.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [copy[i], copy[j]] = [copy[j], copy[i]];
    }
    return copy;
  }

  sample(list, n) { return this.shuffle(list).slice(0, n); }

  /** One of {weight, …}. */
  weighted(list) {
    let at = this.below(list.reduce((sum, each) => sum + each.weight, 0));
    return list.find((each) => (at -= each.weight) < 0);
  }
}

module.exports = { Random };
