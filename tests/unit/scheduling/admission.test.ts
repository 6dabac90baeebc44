/** Which requests are admitted at once, which wait, and how a wait ends. */
import { describe, expect, test } from 'bun:test';
import { Admission, type AdmissionSettings } from '../../../src/scheduling/admission.ts';
import { Lease } from '../../../src/scheduling/lease.ts';
import type { Grant } from '../../../src/scheduling/waiter.ts';
import type { Job } from '../../../src/request/job.ts';
import { GatewayError } from '../../../src/wire/errors.ts';
import { Placing } from '../../../src/scheduling/placing.ts';
import type { UpstreamSettings } from '../../../src/config/upstreams.ts';
import { MemoryShares } from '../../../src/stores/memory/shares.ts';
import { LocalSlots } from '../../../src/stores/memory/slots.ts';
import { jobOf, fleetOf, leaseOf, settingsOf } from '../../support/schedulingworld.ts';

const limits: AdmissionSettings = {
  maxSlotsPerCaller: 0,
  maxQueuedRequests: 100,
  maxQueuedPerCaller: 100,
  maxQueuedBytes: 1e6,
  queueTimeoutMs: 300,
};

function stage(
  upstreams: readonly UpstreamSettings[] = [settingsOf('a')],
  settings: Partial<AdmissionSettings> = {},
) {
  const fleet = fleetOf(upstreams);
  const placing = new Placing(fleet, () => 0.25);
  const started: Grant[] = [];
  const admission = new Admission({
    settings: () => ({ ...limits, ...settings }),
    fleet,
    placing,
    broker: new LocalSlots(),
    shares: new MemoryShares(),
    start(grant) {
      started.push(grant);
      const { waiter, slots, units } = grant;
      return leaseOf({ job: waiter.job, upstream: fleet.ownerOf(slots), slots, units });
    },
    now: () => 0,
  });
  const enter = (job: Job, signal = new AbortController().signal) =>
    admission.enter(job, fleet.resolve(job), { signal, isAgain: false });
  function end(lease: Lease): void {
    admission.release(lease);
    admission.dispatch(0);
  }
  return { fleet, admission, started, enter, end };
}

/** Returns the error that ends a wait. */
async function failureOf(wait: unknown): Promise<unknown> {
  try {
    await wait;
  } catch (error) {
    return error;
  }
  return undefined;
}

describe('where nobody waits and a slot is free', () => {
  test('a request starts before the call returns', () => {
    const { admission, started, enter } = stage();
    const lease = enter(jobOf('k'));
    expect(lease).not.toBeInstanceOf(Promise);
    expect(lease).toBeInstanceOf(Lease);
    expect(started).toHaveLength(1);
    expect([admission.size, started[0]?.slots.used]).toEqual([0, 1]);
  });

  test('one that is larger than the engine takes all of it', () => {
    const { started, enter } = stage([settingsOf('a', { slots: 3 })]);
    enter(jobOf('k', { units: 9 }));
    expect(started[0]?.units).toBe(3);
  });

  test('one that needs no slot takes none, also of an engine that is full', () => {
    const { started, enter } = stage();
    enter(jobOf('k'));
    const lease = enter(jobOf('k', { units: 0 }));
    expect(lease).not.toBeInstanceOf(Promise);
    expect(started[1]?.units).toBe(0);
  });

  test('one runs even with a queue of no length', () => {
    const { enter } = stage(undefined, { maxQueuedRequests: 0 });
    expect(enter(jobOf('k'))).not.toBeInstanceOf(Promise);
    expect(() => enter(jobOf('k'))).toThrow(GatewayError);
  });

  test('of several upstreams each gets its share', () => {
    const { started, enter } = stage([settingsOf('a'), settingsOf('b')]);
    for (let i = 0; i < 2; i++) enter(jobOf('k'));
    expect(started.map(({ slots }) => slots.id).sort()).toEqual(['a', 'b']);
    expect(started.map(({ waiter }) => waiter.spot?.blocks)).toEqual([0, 0]);
  });
});

describe('a request waits', () => {
  test('for a slot, and starts when one comes back', async () => {
    const { admission, started, enter, end } = stage();
    const first = enter(jobOf('k')) as Lease;
    const second = enter(jobOf('k'));
    expect(second).toBeInstanceOf(Promise);
    expect(admission.size).toBe(1);
    end(first);
    expect((await second).slots.id).toBe('a');
    expect(started).toHaveLength(2);
  });

  test("behind its caller's cap", () => {
    const { enter } = stage([settingsOf('a', { slots: 4 })], { maxSlotsPerCaller: 1 });
    enter(jobOf('k'));
    expect(enter(jobOf('k'))).toBeInstanceOf(Promise);
  });

  test('if another waits already, and its place is known', () => {
    const { admission, enter } = stage();
    enter(jobOf('a'));
    enter(jobOf('a'));
    const job = jobOf('b');
    enter(job);
    expect(admission.report(job)?.place).toBeGreaterThan(0);
    expect(admission.report(jobOf('c'))).toBeUndefined();
  });

  test('and it is known for what: the own cap, or others that come before', () => {
    const { admission, enter } = stage([settingsOf('a', { slots: 2 })], { maxSlotsPerCaller: 1 });
    enter(jobOf('a'));
    const capped = jobOf('a');
    enter(capped);
    enter(jobOf('b'));
    const waiting = jobOf('c');
    enter(waiting);
    const last = jobOf('d');
    enter(last);
    expect(admission.report(capped)).toMatchObject({ held: 'cap', running: 1, maxUnits: 1 });
    const waits = admission.waits();
    expect([...waits.keys()]).toEqual([capped.id, waiting.id, last.id]);
    expect(waits.get(last.id)).toMatchObject({
      place: 2,
      held: 'turn',
      slots: ['a'],
      ahead: [{ name: 'c', principal: 'c', servedLess: 0 }],
    });
  });

  test('and Retry-After goes by those alone that wait for the same servers', () => {
    const servers = [settingsOf('a', { models: ['x'] }), settingsOf('b', { models: ['y'] })];
    const { fleet, admission, enter } = stage(servers, { maxQueuedRequests: 40 });
    for (const { speed } of fleet.upstreams) {
      speed.observe({
        serviceMs: 3_000,
        firstByteMs: 1,
        computedTokens: 1,
        completionTokens: 1,
      });
    }
    enter(jobOf('k', { model: 'y' }));
    for (let i = 0; i < 41; i++) enter(jobOf('k', { model: 'x' }));
    expect(admission.size).toBe(40);
    const refused = (model: string) => {
      try {
        enter(jobOf('other', { model }));
      } catch (error) {
        return Number((error as GatewayError).headers?.['retry-after']);
      }
      return undefined;
    };
    expect(refused('y')).toBe(1);
    expect(refused('x')).toBeGreaterThan(30);
  });

  test('and is not held up by one that wants another upstream', async () => {
    const { started, enter } = stage([
      settingsOf('a', { models: ['x'] }),
      settingsOf('b', { models: ['y'] }),
    ]);
    for (let i = 0; i < 2; i++) enter(jobOf('k', { model: 'x' }));
    await enter(jobOf('k', { model: 'y' }));
    expect(started.map(({ slots }) => slots.id)).toEqual(['a', 'b']);
  });
});

describe('a wait ends', () => {
  test('with the reason of the signal', async () => {
    const { admission, enter } = stage();
    enter(jobOf('k'));
    const controller = new AbortController();
    const failure = failureOf(enter(jobOf('k'), controller.signal));
    const reason = new Error('left');
    controller.abort(reason);
    expect(await failure).toBe(reason);
    expect(admission.size).toBe(0);
  });

  test('with the time until a retry when it was too long', async () => {
    const { enter } = stage();
    enter(jobOf('k'));
    const controller = new AbortController();
    const failure = failureOf(enter(jobOf('k'), controller.signal));
    controller.abort(new GatewayError('queue_timeout'));
    const error = (await failure) as GatewayError;
    expect([error.code, Number(error.headers?.['retry-after'])]).toEqual(['queue_timeout', 1]);
    expect(error.headers?.['x-gateway-queue-place']).toBe('1');
    expect(error.message).toBe(
      "It was not this request's turn within 300 ms (QUEUE_TIMEOUT_MS): place 1. Retry in 1 s.",
    );
  });

  test('when every upstream is away', async () => {
    const { fleet, admission, enter } = stage();
    enter(jobOf('k'));
    const failure = failureOf(enter(jobOf('k')));
    fleet.upstreams[0]?.breaker.unreachable(0);
    fleet.refresh(0);
    admission.failHopeless();
    expect(((await failure) as GatewayError).code).toBe('no_healthy_upstream');
  });

  test('not before an upstream that is away was looked at for the first time', async () => {
    const { fleet, admission, enter } = stage();
    enter(jobOf('k'));
    const failure = failureOf(enter(jobOf('k')));
    const [upstream] = fleet.upstreams;
    if (upstream === undefined) throw new Error('there is no upstream');
    upstream.sighted(false);
    upstream.breaker.unreachable(0);
    fleet.refresh(0);
    admission.failHopeless();
    expect(admission.size).toBe(1);
    upstream.sighted(true);
    admission.failHopeless();
    expect(((await failure) as GatewayError).code).toBe('no_healthy_upstream');
  });

  test('when its model is served no more, and not for the others', async () => {
    const { fleet, admission, enter } = stage([settingsOf('a', { models: ['x', 'y'] })]);
    enter(jobOf('k', { model: 'x' }));
    const stays = enter(jobOf('k', { model: 'x' }));
    const failure = failureOf(enter(jobOf('k', { model: 'y' })));
    const upstreams = [settingsOf('a', { models: ['x', 'z'] })];
    fleet.replace({ upstreams, defaultModel: undefined, anyModelName: 'on' });
    fleet.renew();
    admission.regroup();
    expect(((await failure) as GatewayError).code).toBe('model_not_found');
    expect(stays).toBeInstanceOf(Promise);
    expect(admission.size).toBe(1);
  });
});
