// Requests a second that bring nothing, beside `return 200` with the same bytes. wrk asks.
'use strict';

const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { Stage } = require('../../t/lib/stage');
const { path: at } = require('../../t/lib/client');

const sessions_of_device = 16;
const seconds = 3;
const script = `
local asked, number = {}, 0
init = function(args)
  for line in io.lines(os.getenv('ASKED')) do
    local target, token = line:match('^(%S+) (%S+)$')
    asked[#asked + 1] = wrk.format('POST', target, { ['Host'] = wrk.headers['Host'], ['Authorization'] = 'Bearer ' .. token, ['Content-Type'] = 'application/json' }, '{}')
  end
end
request = function()
  number = number % #asked + 1
  return asked[number]
end
done = function(summary)
  local bad = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format('RESULT %f %d\\n', summary.requests * 1e6 / summary.duration, bad))
end
`;

module.exports = async function requests(figures) {
  const stage = new Stage({ connections: 8192, level: 'warn',
    server: (made) => `location = ${at} { matrix_sync ${made.url}; access_log off; }
        location = /anchor { access_log off; default_type application/json; return 200 '${made.bytes || ''}'; }` });
  await stage.start();
  try {
    for (const count of [1, 64, 1024]) {
      const sessions = Array.from({ length: Math.ceil(count / sessions_of_device) }, () => stage.homeserver.device())
        .flatMap((device) => Array.from({ length: Math.min(count, sessions_of_device) }, () => stage.session(device)));
      for (const session of sessions) await session.sync({ to_device: {}, room_list: {} });
      const { body } = await sessions[0].ask('', { timeout: 0 });
      stage.bytes = body.toString();
      stage.configure();
      await stage.nginx.replaceWorkers();
      for (const session of sessions) await session.sync('', { timeout: 0 });
      const ask = (name, target) => {
        const prefix = path.join(stage.nginx.prefix, name);
        fs.writeFileSync(`${prefix}.asked`, sessions.map((session) => `${target(session)} ${session.token}\n`).join(''));
        fs.writeFileSync(`${prefix}.lua`, script);
        return () => {
          const out = execFileSync('wrk', ['-t1', `-c${Math.min(count, 64)}`, `-d${seconds}s`, '-s', `${prefix}.lua`, `http://127.0.0.1:${stage.port}`],
            { env: { ...process.env, ASKED: `${prefix}.asked` }, encoding: 'utf8' });
        const [, rate, bad] = /^RESULT (\S+) (\d+)$/m.exec(out);
          if (Number(bad) > 0) throw new Error(`${bad} requests failed`);
          return Number(rate);
        };
      };
      await figures.add(`no news, ${count} sessions`, '1/s', {
        measure: ask('module', (session) => session.target({ timeout: 0 })), anchor: ask('anchor', () => '/anchor'), target: { ratio: 0.4, least: true },
      });
    }
  } finally {
    await stage.end();
  }
};
