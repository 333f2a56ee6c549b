// Memory of a worker for each device that waits for news: its client's request and its poll of the homeserver; beside that of an nginx that
// passes the poll on.
'use strict';

const { installed } = require('../installation');
const { sum } = require('../figures');

const devices = 5000;

module.exports = async function idleMemory(figures) {
  const found = { direct: [], module: [] };
  for (let run = 0; run < Math.min(figures.runs, 3); run++) {
    await installed(async (it) => {
      for (const [way, nginx] of [['direct', it.direct], ['module', it.hosts[0]]]) {
        const memory = () => sum(nginx.workerPids().map((pid) => nginx.memory(pid)));
        const before = memory();
        await it.connect(way, { size: 10, devices });
        found[way].push((memory() - before) / devices / 1024);
      }
    }, { workers: 1 });
  }
  figures.note(`a device of ${devices}, waiting`, 'kB', found.module, found.direct, { most: 16, ratio: 2 });
};
