// CPU time of devices that wait and are told nothing for a minute, each client for 30 seconds at a time: of the workers and of PostgreSQL, beside
// that of an nginx that passes polls on.
'use strict';

const { installed, between } = require('../installation');
const { pause } = require('../figures');

const devices = 5000;

module.exports = async function idleCpu(figures) {
  const { workers, postgres, direct } = await installed(async (it) => {
    await it.connectDirectly({ size: 10, devices });
    await it.connect({ size: 10, devices });
    const from = it.cpu();
    await pause(60_000);
    return between(from, it.cpu());
  });
  figures.note(`${devices} devices, a minute: workers and PostgreSQL`, 'ms', [workers + postgres], [direct], { ratio: 2 });
  figures.note(`${devices} devices, a minute: of which PostgreSQL`, 'ms', [postgres]);
};
