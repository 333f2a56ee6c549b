// The record of a walk: every step goes to a file; when a difference is found, what led there goes there too and the end of it to the person.
'use strict';

const fs = require('node:fs');
const path = require('node:path');

const shown_steps = 12, shown_exchanges = 3, shown_length = 1500;

class Trace {
  constructor(directory, seed) {
    fs.mkdirSync(directory, { recursive: true });
    this.file = path.join(directory, `walk-${seed}.log`);
    this.seed = seed;
    this.steps = [];
    fs.writeFileSync(this.file, `seed ${seed}\n`);
  }

  line(text) { fs.appendFileSync(this.file, `${text}\n`); }

  step(text) {
    this.steps.push(text);
    this.line(text);
  }

  /** All of it to the file; gives what to show of it when the walk goes on. */
  note(error) {
    const values = ['expected', 'got'].filter((name) => error[name] !== undefined).map((name) => `${name}: ${JSON.stringify(error[name])}`);
    const clients = error.clients || [];
    const heard = clients.map((client) => `\n${client.name}, all it said and heard lately:\n${client.history()}`);
    this.line(['', `DIFFERENCE ${error.message}`, ...values, error.stack, ...heard, ''].join('\n'));
    return `after ${this.steps.at(-1)}\n  ${error.message}`;
  }

  /** The same, and gives all that a person needs at first. */
  report(error) {
    this.note(error);
    const clients = error.clients || [];
    const heard = clients.slice(0, 2).flatMap((client) => [`${client.name}, the last requests and answers:`,
      ...client.exchanges.slice(-shown_exchanges).map((exchange) => `  ${cut(JSON.stringify(exchange))}`)]);
    return [`seed ${this.seed}, after step ${this.steps.length}: ${error.message}`, 'the last steps:', ...this.steps.slice(-shown_steps).map((step) => `  ${step}`),
      ...heard, `all steps, requests and answers: ${this.file}`].join('\n');
  }
}

const cut = (text) => (text.length > shown_length ? `${text.slice(0, shown_length)}… (${text.length} characters)` : text);

module.exports = { Trace };
