// nginx is stopped and started with the database of an account of 3,000 rooms: until a session has its first answer.
'use strict';

const { staged } = require('../staged');
const { account, largest, polled } = require('../accounts');
const { took } = require('../figures');

module.exports = (figures) => staged(async (stage) => {
  const { device, session } = await polled(stage, account(largest, true).initial);
  const { next } = session;
  const answered = (since, body) => async () => {
    await device.stored();
    await stage.nginx.stop();
    return took(async () => {
      await stage.nginx.start();
      await Object.assign(stage.session(device), { next: since }).sync(body, { timeout: 0 });
    });
  };
  await figures.add('first answer to a session that goes on', 'ms', { measure: answered(next, {}), target: { most: 300 } });
  await figures.add('first answer to a new session, 20 rooms', 'ms', { measure: answered(undefined, { room_list: {} }), target: { most: 300 } });
});
