// A room of many connected devices, and messages all the time: how many deliveries a second there are, what each costs, and whether that grows.
// A delivery is an event that has come to a device and is stored: the homeserver counts it when the device's next poll says so.
'use strict';

const { installed, between } = require('../installation');
const { now, pause, quantile } = require('../figures');

const devices = 5000;
const seconds = 60;
const thirds = 3;
const warm = 20;   // seconds before that, in which what is kept of logs comes to its bound

/** What was used in each third, and the delays in it. */
async function parts(it, rate) {
  const begun = now();
  const points = [await it.point()], delays = [];
  const sent = it.homeserver.call('send', 'module', { rate, count: rate * seconds });
  for (let third = 1; third <= thirds; third++) {
    await pause(begun + (1000 * seconds * third) / thirds - now());
    points.push(await it.point());
    delays.push(await it.clients.call('delays', 'module'));
  }
  await sent;
  return points.slice(1).map((to, i) => ({ ...between(points[i], to), delays: delays[i] }));
}

module.exports = (figures) => installed(async (it) => {
  await it.connect({ size: devices, devices });
  const others = [];
  for (const rate of [1, 10]) {
    await it.homeserver.call('send', 'module', { rate, count: rate * warm });
    await it.resting('module', devices);
    await it.clients.call('delays', 'module');
    const found = await parts(it, rate);
    const total = (name) => found.reduce((sum, part) => sum + part[name], 0);
    const note = (name, unit, values, ...more) => figures.note(`${devices} devices, ${rate}/s: ${name}`, unit, values, ...more);
    const a = (part, name) => part[name] / part.delivered;
    note(`deliveries, of ${devices * rate} sent`, '1/s', [(1000 * total('delivered')) / total('at')]);
    for (const [part, name, unit] of [['postgres', "PostgreSQL's CPU", 'ms'], ['workers', "workers' CPU", 'ms'], ['rows', 'rows', ''], ['wal', 'WAL', 'bytes']]) {
      note(`${name} a delivery`, unit, [total(part) / total('delivered')]);
    }
    const [first, last] = [found[0], found.at(-1)];
    note("PostgreSQL's CPU, last third beside the first", 'ms', [a(last, 'postgres')], [a(first, 'postgres')]);
    note("workers' CPU, last third beside the first", 'ms', [a(last, 'workers')], [a(first, 'workers')]);
    note('delay of half, last third beside the first', 'ms', [quantile(last.delays, 0.5)], [quantile(first.delays, 0.5)]);
    const part = (name) => `${((100 * total(name)) / total('at')).toFixed(0)} %`;
    others.push(`at ${rate}/s the homeserver took ${part('homeserver')} of a CPU and the clients ${part('clients')}`);
    await it.resting('module', devices);
  }
  return others.join(', ');
});
