// Events to connected devices: how long each takes from the homeserver to the client, through the module, and beside that through an nginx that
// passes polls on.
'use strict';

const { installed } = require('../installation');
const { quantile } = require('../figures');

const size = 10;                  // devices of a room
const rate = 50;                  // events a second, each to all of a room
const seconds = 10;
const mix = ['message', 'message', 'member', 'typing', 'to_device'];

module.exports = async function live(figures) {
  for (const devices of [100, 1000, 5000]) {
    await installed(async (it) => {
      const delays = { direct: [], module: [] };
      await it.connectDirectly({ size, devices });
      await it.connect({ size, devices });
      for (let run = 0; run < Math.min(figures.runs, 3); run++) {
        for (const way of Object.keys(delays)) delays[way].push(await it.delays(way, { rate, count: rate * seconds, mix }));
      }
      const note = (name, of, target) => figures.note(`${devices} devices, ${rate} events/s: ${name}`, 'ms', delays.module.map(of), delays.direct.map(of), target);
      note('half are there within', (each) => quantile(each, 0.5), devices === 1000 ? { over: 3 } : {});
      note('99 %', (each) => quantile(each, 0.99), devices === 1000 ? { over: 20 } : {});
      note('slowest', (each) => Math.max(...each), devices === 5000 ? { most: 1000 } : {});
    });
  }
};
