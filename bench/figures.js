// Figures of a benchmark: several runs, each beside its anchor, and what else used the CPUs meanwhile.
'use strict';

const fs = require('node:fs');
const os = require('node:os');

const sorted = (values) => [...values].sort((a, b) => a - b);
const median = (values) => (sorted(values)[(values.length - 1) >> 1] + sorted(values)[values.length >> 1]) / 2;
const quantile = (values, part) => sorted(values)[Math.min(values.length - 1, Math.floor(values.length * part))];
const sum = (list) => list.reduce((total, each) => total + each, 0);
const now = () => Number(process.hrtime.bigint()) / 1e6;
const pause = (ms) => new Promise((go) => setTimeout(go, ms));

/** CPU time of processes so far, in milliseconds. */
const cpuTime = (...pids) => sum(pids.map((pid) => Number(fs.readFileSync(`/proc/${pid}/schedstat`, 'latin1').split(' ')[0]) / 1e6));

/** The same of a process and all that it started, those that have ended included. */
function treeTime(pid) {
  try {
    const [reapedUser, reapedSystem] = fs.readFileSync(`/proc/${pid}/stat`, 'latin1').replace(/^.*\) /s, '').split(' ').slice(13, 15).map(Number);
    const children = fs.readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').split(' ').filter(Boolean);
    return cpuTime(pid) + 10 * (reapedUser + reapedSystem) + sum(children.map(treeTime));
  } catch (error) {
    if (error.code === 'ENOENT' || error.code === 'ESRCH') return 0;
    throw error;
  }
}

/** The same of a PostgreSQL. */
const postgresTime = ({ socket }) => treeTime(Number(fs.readFileSync(`${socket}/data/postmaster.pid`, 'latin1').split('\n')[0]));

/** The milliseconds that something takes. */
async function took(run) {
  const begun = now();
  await run();
  return now() - begun;
}

class Figures {
  constructor(row, runs) { Object.assign(this, { row, runs, all: [] }); }

  /**
   * One figure. `measure` and `anchor` each give a number, and take turns. A target is {ratio}, of the figure to its anchor, {most}, or
   * {over}, beyond the anchor; `least` turns it round: {ratio, least: true}.
   */
  async add(figure, unit, { measure, anchor, target = {}, runs = this.runs }) {
    const values = [], anchors = [];
    for (let run = 0; run < runs; run++) {
      if (anchor) anchors.push(await anchor());
      values.push(await measure());
    }
    this.note(figure, unit, values, anchors, target);
  }

  note(figure, unit, values, anchors = [], target = {}) {
    const value = median(values), beside = anchors.length > 0 ? median(anchors) : undefined;
    const ratio = beside ? value / beside : undefined;
    const tests = [
      [target.ratio, ratio, (limit) => `${limit} x`], [target.most, value, (limit) => `${limit}`], [target.over, value - beside, (limit) => `+${limit}`],
    ].filter(([limit]) => limit !== undefined);
    const met = tests.length > 0 ? tests.every(([limit, is]) => (target.least ? is >= limit : is <= limit)) : undefined;
    const wanted = tests.map(([limit, , text]) => `${target.least ? '>=' : '<='} ${text(limit)}`).join(', ');
    this.all.push({ row: this.row, figure, unit, value, anchor: beside, ratio, target: wanted || undefined, met, min: Math.min(...values), max: Math.max(...values), runs: values.length });
    console.log(line(this.all.at(-1)));
  }
}

const number = (value) => (value === undefined ? '' : Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3));
const columns = [
  ['row', 12, (f) => f.row], ['figure', -58, (f) => f.figure], ['unit', 8, (f) => f.unit], ['median', 9, (f) => number(f.value)], ['min', 9, (f) => number(f.min)],
  ['max', 9, (f) => number(f.max)], ['anchor', 9, (f) => number(f.anchor)], ['ratio', 7, (f) => number(f.ratio)], ['target', 10, (f) => f.target ?? ''],
  ['met', 4, (f) => (f.met === undefined ? '' : f.met ? 'yes' : 'no')],
];
const line = (figure) => columns.map(([, width, text]) => (width < 0 ? text(figure).padEnd(-width) : text(figure).padStart(width))).join(' ');
/** What a table shows of a figure, column by column, and the columns' titles. */
const written = (figure) => columns.map(([, , text]) => text(figure));
const titles = columns.map(([title]) => title);
const heading = () => columns.map(([title, width]) => (width < 0 ? title.padEnd(-width) : title.padStart(width))).join(' ');

/** CPU time of the whole machine so far, in milliseconds: {busy, all}. */
function machine() {
  const times = os.cpus().map(({ times: each }) => each);
  const all = sum(times.flatMap(Object.values));
  return { busy: all - sum(times.map(({ idle }) => idle)), all };
}

module.exports = { Figures, heading, written, titles, machine, median, quantile, sum, now, pause, cpuTime, treeTime, postgresTime, took };
