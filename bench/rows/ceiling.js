// What the homeservers and the clients of these benchmarks do by themselves, with nothing between: one message after the other to a room, each
// once all have the one before; ten a second, several of which come together; and a large first answer. It has to be much more than what they
// measure.
'use strict';

const { installed, between } = require('../installation');
const { staged } = require('../staged');
const { user, account, largest } = require('../accounts');
const { request } = require('../../t/lib/client');
const { now, took } = require('../figures');

const devices = 5000;
const seconds = 5;

/** Deliveries a second where a message does not wait until all have the one before. */
async function crowded(it) {
  const from = now();
  await it.delays('direct', { rate: 10, count: 10 * seconds });
  return (1000 * devices * 10 * seconds) / (now() - from);
}

/** The milliseconds that the answer to a first poll takes without nginx. */
const firstAnswer = (runs) => staged(async ({ homeserver }) => {
  const device = homeserver.device(user);
  device.initial = account(largest, false).initial;
  const times = [];
  for (let run = 0; run < runs; run++) {
    times.push(await took(() => request({ port: homeserver.port, method: 'GET', path: '/_matrix/client/v3/sync?timeout=0', headers: { authorization: `Bearer ${device.token}` } })));
  }
  return times;
});

module.exports = async function ceiling(figures) {
  const found = [], rates = [];
  await installed(async (it) => {
    await it.connectDirectly({ size: devices, devices, ports: [it.homeserverPort] });
    for (let run = 0; run < figures.runs; run++) {
      const from = it.cpu();
      let count = 0;
      for (; now() < from.at + 1000 * seconds; count += devices) await it.delays('direct', {});
      const { at, homeserver, clients } = between(from, it.cpu());
      found.push({ rate: (1000 * count) / at, homeserver: homeserver / count, clients: clients / count });
      rates.push(await crowded(it));
    }
  });
  const note = (name, unit, of) => figures.note(`${devices} devices of a room: ${name}`, unit, found.map(of));
  note('deliveries', '1/s', ({ rate }) => rate);
  figures.note(`${devices} devices of a room, 10/s: deliveries, of ${devices * 10} sent`, '1/s', rates);
  note("homeserver's CPU a delivery", 'ms', ({ homeserver }) => homeserver);
  note("clients' CPU a delivery", 'ms', ({ clients }) => clients);
  figures.note('the answer to a first poll of 3,000 rooms', 'ms', await firstAnswer(figures.runs));
};
