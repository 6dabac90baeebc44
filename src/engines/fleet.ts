/**
 * The upstreams that there are, which of them serve which model, and which can do without which. It opens no socket and
 * grants nothing.
 */
import type { Job } from '../request/job.ts';
import { Catalog, type Choice } from './catalog.ts';
import { GatewayError } from '../wire/errors.ts';
import { listOf, mergeModels } from '../wire/modellist.ts';
import { Domain, type SlotGroup, type SlotSet, type Succession } from './slots.ts';
import { isServedBy, type Route } from '../wire/routes.ts';
import { Upstream } from './upstream.ts';
import type { UpstreamSettings } from '../config/upstreams.ts';

export interface FleetSettings {
  upstreams: readonly UpstreamSettings[];
  defaultModel: string | undefined;
  anyModelName: 'on' | 'off';
}

export class Fleet {
  #settings: FleetSettings = { upstreams: [], defaultModel: undefined, anyModelName: 'on' };
  #upstreams: readonly Upstream[] = [];
  #catalog = new Catalog([], { defaultModel: undefined, anyModelName: true });
  /** What the catalog was made of. */
  #served = '';
  #groups = new WeakMap<Choice, SlotGroup>();
  #domains: readonly Succession[] = [];
  readonly #serving = new WeakMap<Choice, Map<Route, Choice>>();
  readonly #owners = new WeakMap<SlotSet, Upstream>();
  readonly #random: () => number;

  /** @param random returns numbers from 0 up to, not including, 1 */
  constructor(random: () => number) {
    this.#random = random;
  }

  get upstreams(): readonly Upstream[] {
    return this.#upstreams;
  }

  /** Whether a request has a chance. */
  get isUsable(): boolean {
    return this.#upstreams.some((upstream) => upstream.isHopeful);
  }

  /** Whether one engine is all there is, so that its own list of models is the truth. */
  get hasOneList(): boolean {
    const [only, ...others] = this.#settings.upstreams;
    if (only === undefined || others.length > 0 || only.models !== undefined) return false;
    return Object.keys(only.aliases).length === 0;
  }

  /** The models of all upstreams and their aliases, as one list. */
  models(): Uint8Array {
    return mergeModels(
      this.#upstreams.map(({ list, settings: { models, aliases } }) => {
        return { list: models ? listOf(models) : (list ?? listOf([])), aliases };
      }),
    );
  }

  /** Returns the least context, in tokens, that an upstream tells of which the model is the only one. */
  readonly contextOf = (model: string): number | undefined => {
    const sizes = this.#upstreams
      .filter(({ models }) => models?.length === 1 && models[0] === model)
      .flatMap(({ contextTokens }) => contextTokens ?? []);
    return sizes.length === 0 ? undefined : Math.min(...sizes);
  };

  /** Returns whether some upstream is known to serve a model under that name. */
  hasName(name: string): boolean {
    return this.#catalog.hasName(name);
  }

  /** Returns whether that is the name of a model, or may be one because the upstream of that id lists none. */
  mayHaveName(name: string, id: string | undefined): boolean {
    if (this.hasName(name)) return true;
    return this.#upstreams.some((upstream) => upstream.id === id && upstream.models === undefined);
  }

  /** Takes new settings; `renew` must follow. Returns the upstreams that are new, and those that are gone. */
  replace(settings: FleetSettings): { added: Upstream[]; gone: Upstream[] } {
    this.#settings = settings;
    const before = new Map(this.#upstreams.map((upstream) => [upstream.settings.url, upstream]));
    const added: Upstream[] = [];
    this.#upstreams = settings.upstreams.map((wanted) => {
      const known = before.get(wanted.url);
      const isSame =
        known?.settings.kind === wanted.kind && known.settings.apiKey === wanted.apiKey;
      if (known !== undefined && isSame) {
        before.delete(wanted.url);
        known.reconfigure(wanted);
        return known;
      }
      const upstream = new Upstream(wanted, this.#random);
      added.push(upstream);
      return upstream;
    });
    const gone = [...before.values()];
    for (const upstream of gone) upstream.remove();
    this.#served = '';
    return { added, gone };
  }

  /** Brings the catalog up to what the upstreams serve now; returns whether anything has changed. */
  renew(): boolean {
    const served = this.#upstreams.map(({ id, kind, models, settings: { aliases } }) => {
      return { upstream: id, kind, models, aliases };
    });
    const text = JSON.stringify([served, this.#upstreams.map(({ settings }) => settings.slots)]);
    if (text === this.#served) return false;
    this.#served = text;
    const { defaultModel, anyModelName } = this.#settings;
    this.#catalog = new Catalog(served, { defaultModel, anyModelName: anyModelName === 'on' });
    this.#domains = this.#catalog.connected().map((ids) => this.#domainOf(ids));
    return true;
  }

  /** The domains that there are, and what each was before the latest change. */
  get domains(): readonly Succession[] {
    return this.#domains;
  }

  #withIds(ids: readonly string[]): Upstream[] {
    return this.#upstreams.filter(({ id }) => ids.includes(id));
  }

  /** Returns the domain of those upstreams: the one that they have if it is theirs alone, else a new one. */
  #domainOf(ids: readonly string[]): Succession {
    const id = ids.toSorted().join(' ');
    const upstreams = this.#withIds(ids);
    const origins = [...new Set(upstreams.map(({ domain }) => domain))];
    const domain = origins.find((origin) => origin.id === id) ?? new Domain(id);
    for (const upstream of upstreams) upstream.joins(domain);
    return { domain, origins };
  }

  /**
   * Returns where a request may run. Throws what the catalog throws, and `unknown_route` where no engine that has the
   * model serves the route.
   */
  resolve({ model, needsModel, takesModel, caller, route }: Job): Choice {
    const choice = this.#catalog.resolve(model, needsModel, takesModel ? caller.models : undefined);
    return route.kinds === undefined ? choice : this.#servingOf(choice, route);
  }

  /** Returns the part of a choice whose engines serve the route; the same object for the same choice and route. */
  #servingOf(choice: Choice, route: Route): Choice {
    let parts = this.#serving.get(choice);
    if (parts === undefined) this.#serving.set(choice, (parts = new Map()));
    const known = parts.get(route);
    if (known !== undefined) return known;
    const chosen = this.#withIds(choice.upstreams);
    const upstreams = chosen.filter(({ kind }) => isServedBy(route, kind)).map(({ id }) => id);
    if (upstreams.length === 0 && chosen.length > 0) throw notServed(route, chosen);
    const part = upstreams.length === chosen.length ? choice : { ...choice, upstreams };
    parts.set(route, part);
    return part;
  }

  /** Returns the slots where a request may run; the same object for the same choice. */
  groupOf(choice: Choice): SlotGroup {
    let group = this.#groups.get(choice);
    if (group === undefined) {
      const slotSets = this.#withIds(choice.upstreams).map((upstream) => {
        const slots = upstream.slotsFor(choice.rewrite?.[upstream.id] ?? choice.model);
        this.#owners.set(slots, upstream);
        return slots;
      });
      group = { slotSets };
      this.#groups.set(choice, group);
    }
    return group;
  }

  ownerOf(slots: SlotSet): Upstream {
    return this.#owners.get(slots) as Upstream; // Groups are made of owned slots.
  }

  /** Returns whether there is hope to run the request on another upstream than that one. Throws as `resolve` does. */
  hasOther(upstream: Upstream, job: Job): boolean {
    const { slotSets } = this.groupOf(this.resolve(job));
    return slotSets.some((slots) => {
      const other = this.ownerOf(slots);
      return other !== upstream && other.isHopeful;
    });
  }

  /** Brings the slots up to what is known of their upstreams. */
  refresh(now: number): void {
    for (const upstream of this.#upstreams) {
      const { breaker, refusesQuickly } = upstream;
      const isTried = breaker.canAdmit(now) || (refusesQuickly && !this.#hasPeer(upstream));
      upstream.refresh(upstream.isWilling && isTried);
    }
  }

  /** Whether one that is set aside may have had its time: the one thing that opens slots without an event. */
  hasSetAside(): boolean {
    for (const { breaker } of this.#upstreams) if (breaker.state !== 'closed') return true;
    return false;
  }

  /** Whether another upstream can do without this one. */
  canSpare(upstream: Upstream): boolean {
    const { models } = upstream;
    return this.#upstreams.some((other) => {
      if (other === upstream || other.state !== 'up') return false;
      return models === undefined || models.every((model) => other.models?.includes(model) ?? true);
    });
  }

  /** Takes those back that were set aside for what requests met there and whose peers are gone. */
  recall(): void {
    for (const upstream of this.#upstreams) {
      if (!this.canSpare(upstream)) upstream.breaker.recall();
    }
  }

  #hasPeer(upstream: Upstream): boolean {
    return this.#upstreams.some((other) => other !== upstream && other.isHopeful);
  }
}

/** Returns the refusal of a route that no engine of the model serves; it names the kinds that do. */
export function notServed(
  { path, kinds = [] }: Route,
  upstreams: readonly Upstream[],
): GatewayError {
  const there = [...new Set(upstreams.map(({ kind }) => kind))].join(', ');
  const message = `No inference server here serves ${path}: it is a route of ${kinds.join(', ')}, and here is ${there}. GET / lists the routes.`;
  return new GatewayError('unknown_route', { message });
}

/** Returns what the body must name as its model at an upstream; `undefined` if it stays as it is. */
export function modelFor(
  { caller, model, isModelInUrl }: Job,
  choice: Choice,
  { id }: Upstream,
): string | undefined {
  // Of a key that may not use every model: a body that names two must not mean another one to the engine.
  const isPutIn = isModelInUrl || caller.models !== undefined;
  return choice.rewrite?.[id] ?? (isPutIn ? model : undefined);
}
