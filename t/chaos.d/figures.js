// What a run came to, for its last line.
'use strict';

class Figures {
  constructor() {
    this.requests = this.unavailable = this.disconnected = this.hung_up = this.lost = 0;
    this.faults = {};
    this.took = [];
  }

  fault(kind) { this.faults[kind] = (this.faults[kind] || 0) + 1; }
  delivered(ms) { this.took.push(ms); }

  summary(said) {
    const took = this.took.sort((a, b) => a - b);
    const { requests, unavailable, disconnected, hung_up, lost } = this;
    const at = (part) => took[Math.min(took.length - 1, Math.floor(part * took.length))];
    return {
      said, delivered: took.length, faults: this.faults, requests: { answered: requests, unavailable, disconnected, hung_up, lost },
      delivery_ms: { half: at(0.5), 99: at(0.99), slowest: took.at(-1) },
    };
  }
}

module.exports = { Figures };
