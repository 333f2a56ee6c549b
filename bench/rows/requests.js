// Requests a second that bring nothing, beside `return 200` with the same bytes. wrk asks.
'use strict';

const { path: at } = require('../../t/lib/client');
const { staged } = require('../staged');
const { load } = require('../wrk');

const sessions_of_device = 16;
const seconds = 3;

const server = (stage) => `location = ${at} { matrix_sync ${stage.url}; access_log off; }
        location = /anchor { access_log off; default_type application/json; return 200 '${stage.bytes || ''}'; }`;

module.exports = (figures) => staged(async (stage) => {
  for (const count of [1, 64, 1024]) {
    const sessions = Array.from({ length: Math.ceil(count / sessions_of_device) }, () => stage.homeserver.device())
      .flatMap((device) => Array.from({ length: Math.min(count, sessions_of_device) }, () => stage.session(device)));
    for (const session of sessions) await session.sync({ to_device: {}, room_list: {} });
    const { body } = await sessions[0].ask('', { timeout: 0 });
    stage.bytes = body.toString();
    stage.configure();
    await stage.nginx.replaceWorkers();
    for (const session of sessions) await session.sync('', { timeout: 0 });
    const ask = (target) => async () => {
      const requests = sessions.map((session) => [target(session), session.token, '{}']);
      return (await load({ port: stage.port, requests, connections: Math.min(count, 64), seconds })).rate;
    };
    await figures.add(`no news, ${count} sessions`, '1/s', {
      measure: ask((session) => session.target({ timeout: 0 })), anchor: ask(() => '/anchor'), target: { ratio: 0.4, least: true },
    });
  }
}, { connections: 8192, server });
