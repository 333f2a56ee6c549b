// What the homeserver and the clients of these benchmarks do by themselves, with nothing between: one message after the other to a room, each
// once all have the one before. It has to be much more than what they measure.
'use strict';

const { installed, between } = require('../installation');
const { now } = require('../figures');

const devices = 5000;
const seconds = 5;

module.exports = async function ceiling(figures) {
  const found = [];
  await installed(async (it) => {
    await it.connectDirectly({ size: devices, devices, ports: [it.homeserverPort] });
    for (let run = 0; run < figures.runs; run++) {
      const from = it.cpu();
      let count = 0;
      for (; now() < from.at + 1000 * seconds; count += devices) await it.delays('direct', {});
      const { at, homeserver, clients } = between(from, it.cpu());
      found.push({ rate: (1000 * count) / at, homeserver: homeserver / count, clients: clients / count });
    }
  });
  const note = (name, unit, of) => figures.note(`${devices} devices of a room: ${name}`, unit, found.map(of));
  note('deliveries', '1/s', ({ rate }) => rate);
  note("homeserver's CPU a delivery", 'ms', ({ homeserver }) => homeserver);
  note("clients' CPU a delivery", 'ms', ({ clients }) => clients);
};
