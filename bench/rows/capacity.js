// How many deliveries a second one host manages: events to 1,000 connected devices, ten of which share a room, ever more of them a second.
'use strict';

const { installed, between } = require('../installation');
const { quantile } = require('../figures');

const size = 10;                  // devices of a room
const devices = 1000;
const seconds = 10;

module.exports = (figures) => installed(async (it) => {
  await it.connect({ size, devices });
  for (const rate of [100, 200, 400, 800]) {
    const found = [];
    for (let run = 0; run < Math.min(figures.runs, 3); run++) {
      const from = await it.point();
      const delays = await it.delays('module', { rate, count: rate * seconds });
      const { at, delivered } = between(from, await it.point());
      found.push({ rate: (1000 * delivered) / at, half: quantile(delays, 0.5), most: quantile(delays, 0.99) });
      await it.resting('module', devices);
    }
    const note = (name, unit, of) => figures.note(`${devices} devices, ${rate} events/s to ten each: ${name}`, unit, found.map(of));
    note('deliveries', '1/s', (each) => each.rate);
    note('half are there within', 'ms', (each) => each.half);
    note('99 %', 'ms', (each) => each.most);
  }
});
