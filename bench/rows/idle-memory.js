// Memory of nginx's workers for each device that waits for news: its client's request and its poll of the homeserver; beside that of an nginx that
// passes the poll on.
'use strict';

const { installed } = require('../installation');
const { sum } = require('../figures');

const devices = 5000;

/** What nginx grows by for each device, in kB. */
async function each(nginx, connect) {
  const memory = () => sum(nginx.workerPids().map((pid) => nginx.memory(pid)));
  const before = memory();
  await connect();
  return (memory() - before) / devices / 1024;
}

module.exports = (figures) => installed(async (it) => {
  const direct = await each(it.direct, () => it.connectDirectly({ size: 10, devices }));
  const module = await each(it.hosts[0], () => it.connect({ size: 10, devices }));
  figures.note(`a device of ${devices}, waiting`, 'kB', [module], [direct], { most: 16, ratio: 2 });
});
