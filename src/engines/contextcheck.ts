/**
 * Refuses a prompt that fits into the context of no engine before the request waits. It chooses an engine to ask, and
 * leaves the counting to its tokenizer.
 */
import { modelFor, type Fleet } from './fleet.ts';
import { PromptCheck, type SentPrompt } from './promptcheck.ts';
import type { Upstream } from './upstream.ts';
import type { Job } from '../request/job.ts';

export interface ContextCheckOptions {
  fleet: Fleet;
  isOn(): boolean;
  /** Posts JSON to an upstream; returns the JSON of a 200, `undefined` for anything else. */
  post(upstream: Upstream, path: string, parts: readonly Uint8Array[]): Promise<unknown>;
}

export class ContextCheck {
  readonly #checks = new WeakMap<Upstream, PromptCheck>();

  constructor(private readonly options: ContextCheckOptions) {}

  /** Whether prompts are checked before they wait. */
  get isOn(): boolean {
    return this.options.isOn();
  }

  /**
   * Throws `context_length_exceeded` when an upstream's own tokenizer says that the prompt cannot fit, `model_not_found`
   * and `model_required`, and the reason of the signal.
   */
  async assertFits(job: Job, prompt: SentPrompt): Promise<void> {
    if (!this.isOn || job.units === 0) return;
    const { fleet, post } = this.options;
    const choice = fleet.resolve(job);
    const { upstreams } = choice;
    const upstream = fleet.upstreams.find(
      ({ id, state }) => upstreams.includes(id) && state === 'up',
    );
    if (upstream === undefined) return;
    let check = this.#checks.get(upstream);
    if (check === undefined) {
      check = new PromptCheck({ post: (path, parts) => post(upstream, path, parts) });
      this.#checks.set(upstream, check);
    }
    const { kind, contextTokens } = upstream;
    const model = modelFor(job, choice, upstream);
    await check.check({ ...prompt, kind, model, contextTokens, promptBytes: job.promptBytes });
  }
}
