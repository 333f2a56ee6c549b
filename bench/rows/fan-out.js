// One message to a room of many connected devices: until the last client has it, through the module, and beside that through an nginx that
// passes polls on.
'use strict';

const { installed } = require('../installation');

const devices = 5000;

module.exports = (figures) => installed(async (it) => {
  await it.connectDirectly({ size: devices, devices });
  await it.connect({ size: devices, devices });
  const last = (way) => async () => {
    await it.resting(way, devices);
    return Math.max(...await it.delays(way, {}));
  };
  await figures.add(`one message, ${devices} devices: the last client has it`, 'ms', { measure: last('module'), anchor: last('direct'), target: { ratio: 2 } });
});
