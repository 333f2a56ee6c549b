// What a delivery, an event that comes to a device, costs on one host, and on two and four that share a database, beside one; two workers each.
'use strict';

const { installed, between } = require('../installation');

const size = 10;                  // devices of a room, which the hosts share
const devices = 1000;
const rate = 50;                  // events a second, each to all of a room
const seconds = 10;

/** Of each run, what a delivery took. */
const deliveries = (hosts, runs) => installed(async (it) => {
  await it.connect({ size, devices });
  const found = [];
  for (let run = 0; run < runs; run++) {
    const from = await it.point();
    await it.delays('module', { rate, count: rate * seconds });
    await it.resting('module', devices);
    const { delivered, workers, postgres, wal } = between(from, await it.point());
    found.push({ workers: workers / delivered, postgres: postgres / delivered, wal: wal / delivered });
  }
  return found;
}, hosts);

module.exports = async function hosts(figures) {
  const runs = Math.min(figures.runs, 3);
  const one = await deliveries(1, runs);
  const more = [[2, await deliveries(2, runs)], [4, await deliveries(4, runs)]];
  for (const [part, name, unit] of [['workers', "workers' CPU", 'ms'], ['postgres', "PostgreSQL's CPU", 'ms'], ['wal', 'WAL', 'bytes']]) {
    const of = (found) => found.map((run) => run[part]);
    figures.note(`1 host: ${name} a delivery`, unit, of(one));
    for (const [count, found] of more) figures.note(`${count} hosts: ${name} a delivery`, unit, of(found), of(one));
  }
};
