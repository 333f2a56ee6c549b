'use strict';

const { Stage } = require('../t/lib/stage');

/** Runs with a stage and a database of its own, and another homeserver than the scripted one if it is given. */
async function staged(run, { homeserver, ...options } = {}) {
  const stage = new Stage({ level: 'warn', ...options });
  if (homeserver) stage.homeserver = homeserver;
  try {
    await stage.start();
    return await run(stage);
  } finally {
    await stage.end();
    await homeserver?.stop();
  }
}

module.exports = { staged };
