/** A lease ends once, and keeps its members. */
import { expect, test } from 'bun:test';
import type { Lease, LeaseEnd } from '../../../src/scheduling/lease.ts';
import { SlotSet } from '../../../src/engines/slots.ts';
import { Upstream } from '../../../src/engines/upstream.ts';
import { jobOf, leaseOf, settingsOf } from '../../support/schedulingworld.ts';

const end: LeaseEnd = { outcome: 'done', tokens: { promptTokens: 3 }, firstByteMs: 5 };

test('a lease ends once, and its connection after that', () => {
  const upstream = new Upstream(settingsOf('a'), () => 0);
  const told: unknown[] = [];
  const lease = leaseOf({
    job: jobOf('k'),
    upstream,
    slots: new SlotSet('a', 1, true),
    connection: { init: { keepalive: false }, release: () => void told.push('connection') },
    ended: (...all: [Lease, LeaseEnd]) => void told.push(all),
  });
  expect(lease.connection).toEqual({ keepalive: false });
  expect(told).toEqual([]);
  for (let i = 0; i < 3; i++) lease.release(end);
  expect(told).toEqual([[lease, end], 'connection']);
});

test('a lease has what it was made of', () => {
  const given = {
    job: jobOf('k', { units: 3 }),
    upstream: new Upstream(settingsOf('a'), () => 0),
    slots: new SlotSet('a', 4, true),
    units: 2,
    model: 'qwen',
    edits: { model: 'qwen' },
    matchedBlocks: 7,
    probe: 1,
    since: 40,
  };
  const lease = leaseOf(given);
  expect(lease.job).toBe(given.job);
  expect(lease.upstream).toBe(given.upstream);
  expect(lease.slots).toBe(given.slots);
  const { units, model, edits, matchedBlocks, probe, since } = lease;
  expect({ units, model, edits, matchedBlocks, probe, since }).toEqual({
    units: 2,
    model: 'qwen',
    edits: { model: 'qwen' },
    matchedBlocks: 7,
    probe: 1,
    since: 40,
  });
});
