// wrk asks, from a process of its own: requests one after the other on each connection.
'use strict';

const { execFile } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { promisify } = require('node:util');
const { dir } = require('../t/lib/dir');
const { cpuTime } = require('./figures');

const script = `
local asked, number = {}, 0
init = function(args)
  for line in io.lines(args[1]) do
    local target, token, body = line:match('^(%S+) (%S+) (.*)$')
    asked[#asked + 1] = wrk.format('POST', target, { ['Host'] = wrk.headers['Host'], ['Authorization'] = 'Bearer ' .. token, ['Content-Type'] = 'application/json' }, body)
  end
end
request = function()
  number = number % #asked + 1
  return asked[number]
end
done = function(summary, latency)
  local errors = summary.errors
  local bad = errors.status + errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format('{"count":%d,"us":%d,"p99":%d,"bad":%d}\\n', summary.requests, summary.duration, latency:percentile(99), bad))
end
`;

let files = 0;

/**
 * Asks [target, token, body] in turn for some seconds, or until `over` is; with a pace, that many milliseconds after each answer. Gives {rate,
 * ms, p99, cpu}: requests a second, milliseconds for each on average, of which 99 % take no longer, and of a worker's CPU.
 */
async function load({ port, worker, requests, connections = 1, seconds = 2, pace, over }) {
  const prefix = path.join(dir, `wrk${files++}`);
  fs.writeFileSync(`${prefix}.requests`, requests.map((each) => `${each.join(' ')}\n`).join(''));
  fs.writeFileSync(`${prefix}.lua`, pace ? `${script}delay = function() return ${pace} end\n` : script);
  const cpu = worker && cpuTime(worker);
  const running = promisify(execFile)('wrk', ['-t1', `-c${connections}`, `-d${seconds}s`, '-s', `${prefix}.lua`, `http://127.0.0.1:${port}`, '--', `${prefix}.requests`]);
  over?.finally(() => running.child.kill('SIGINT'));
  const { stdout } = await running;
  const { count, us, p99, bad } = JSON.parse(stdout.trim().split('\n').at(-1));
  if (bad > 0 || count === 0) throw new Error(`${bad} of ${count} requests failed`);
  return { rate: (count * 1e6) / us, ms: (connections * us) / 1000 / count, p99: p99 / 1000, cpu: worker && (cpuTime(worker) - cpu) / count };
}

module.exports = { load };
