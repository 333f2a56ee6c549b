// What a first poll takes of the worker's memory over that of an idle one, and how long others wait for the worker meanwhile: with a client
// that looks at no room, and with one that looks at its room list all the time, with a small cache, which that fills.
'use strict';

const fs = require('node:fs');
const matrix = require('../../t/lib/matrix');
const { staged } = require('../staged');
const { user, shapes, account, polled, firstPoll } = require('../accounts');
const { load } = require('../wrk');

const megabyte = 1 << 20;
const pace = 5;                   // milliseconds between an answer to the others and their next request

/** Long messages and long state in rooms of 150 kB. */
function long(bytes) {
  const parts = {};
  for (let made = 0; made < bytes;) {
    const part = matrix.room(user, Array.from({ length: 20 }, () => matrix.message('m'.repeat(4000))));
    part.state.events.push(...Array.from({ length: 40 }, (_, i) => matrix.state('org.example.state', { text: 's'.repeat(1200) }, { state_key: `${i}` })));
    parts[matrix.roomId()] = part;
    made += JSON.stringify(part).length;
  }
  const text = JSON.stringify(matrix.join(parts));
  return (next_batch) => `${text.slice(0, -1)},"next_batch":${JSON.stringify(next_batch)}}`;
}

/** The most memory that a process had since forget(). */
const peak = (pid) => 1024 * Number(/^VmHWM:\s+(\d+)/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'latin1'))[1]);
const forget = (pid) => fs.writeFileSync(`/proc/${pid}/clear_refs`, '5');

const once = (initial, poll, directives) => staged(async (stage) => {
  const [worker] = stage.nginx.workerPids();
  const other = stage.session(stage.homeserver.device());
  await other.sync({ to_device: {} });
  const requests = [[other.target({ timeout: 0 }), other.token, '{}']];
  await load({ port: stage.port, requests, seconds: 1 });
  const idle = stage.nginx.memory(worker);
  forget(worker);
  const over = poll(stage, initial);
  const { p99 } = await load({ port: stage.port, requests, seconds: 600, pace, over });
  await over;
  return { grown: (peak(worker) - idle) / megabyte, p99 };
}, { directives: `matrix_sync_first_poll_timeout 50ms; ${directives}` });

module.exports = async function memoryPoll(figures) {
  const polls = [...Object.entries(shapes).map(([name, shape]) => [name, account(shape, false).initial]), ['Long messages', long(100 * megabyte)]];
  for (const [name, initial] of polls) {
    const size = `(${(initial('').length / 1e6).toFixed(0)} MB)`;
    for (const [poll, who, directives] of [[polled, '', ''], [firstPoll, ', list seen', 'matrix_sync_cache 4m;']]) {
      const runs = [];
      for (let run = 0; run < Math.min(figures.runs, 3); run++) runs.push(await once(initial, poll, directives));
      figures.note(`${name} ${size}${who}: memory`, 'MB', runs.map(({ grown }) => grown), [], { most: 32 });
      figures.note(`${name} ${size}${who}: others, 99 %`, 'ms', runs.map(({ p99 }) => p99), [], { most: 20 });
    }
  }
};
