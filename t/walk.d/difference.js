// What ends a walk: something that is not as the contract has it.
'use strict';

const { deepStrictEqual } = require('node:assert/strict');

class Difference extends Error {
  constructor(what, { got, expected } = {}) {
    super(what);
    Object.assign(this, { name: 'Difference', got, expected });
  }

  /** Where it was found. */
  within(where) {
    this.message = `${where}: ${this.message}`;
    return this;
  }
}

function demand(condition, what, values) {
  if (!condition) throw new Difference(what, values);
}

function same(got, expected, what) {
  try {
    deepStrictEqual(got, expected);
  } catch (error) {
    if (error.code !== 'ERR_ASSERTION') throw error;
    throw new Difference(`${what}: not the same (+ got, - expected)\n${error.message.replace(/^Expected values.*\n/, '').trim()}`, { got, expected });
  }
}

/** Says where a difference comes from that run() throws, now or later. */
function within(where, run) {
  const placed = (error) => { throw error instanceof Difference ? error.within(where) : error; };
  try {
    const value = run();
    return typeof value?.then === 'function' ? value.catch(placed) : value;
  } catch (error) {
    return placed(error);
  }
}

module.exports = { Difference, demand, same, within };
