/**
 * The upstreams that there are, which of them serve which model, and which can do without which. It opens no socket and
 * grants nothing.
 */
import type { Job } from '../request/job.ts';
import { Catalog, type Choice } from './catalog.ts';
import { listOf, mergeModels } from '../wire/modellist.ts';
import type { Group, Station } from './slots.ts';
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
  #groups = new WeakMap<Choice, Group>();
  readonly #owners = new WeakMap<Station, Upstream>();

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

  /** Says whether some upstream is known to serve a model under that name. */
  hasName(name: string): boolean {
    return this.#catalog.hasName(name);
  }

  /** Takes new settings; `renew` must follow. Gives the upstreams that are new, and those that are no more. */
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
        known.settings = wanted;
        return known;
      }
      const upstream = new Upstream(wanted, Math.random);
      added.push(upstream);
      return upstream;
    });
    const gone = [...before.values()];
    for (const upstream of gone) {
      upstream.isRemoved = true;
      upstream.refresh(false);
    }
    this.#served = '';
    return { added, gone };
  }

  /** Brings the catalog up to what the upstreams serve now; says whether that is something else than before. */
  renew(): boolean {
    const served = this.#upstreams.map(({ id, models, settings: { aliases } }) => {
      return { upstream: id, models, aliases };
    });
    const text = JSON.stringify([served, this.#upstreams.map(({ settings }) => settings.slots)]);
    if (text === this.#served) return false;
    this.#served = text;
    const { defaultModel, anyModelName } = this.#settings;
    this.#catalog = new Catalog(served, { defaultModel, anyModelName: anyModelName === 'on' });
    return true;
  }

  /** Gives where a request may run. Throws what the catalog throws. */
  resolve({ model, needsModel, caller }: Job): Choice {
    // A list of models, or a text without a model's name, is no use of one.
    const usesModel = needsModel || model !== undefined;
    return this.#catalog.resolve(model, needsModel, usesModel ? caller.models : undefined);
  }

  groupOf(choice: Choice): Group {
    let group = this.#groups.get(choice);
    if (group === undefined) {
      const upstreams = this.#upstreams.filter(({ id }) => choice.upstreams.includes(id));
      const stations = upstreams.map((upstream) => {
        const station = upstream.station(choice.rewrite?.[upstream.id] ?? choice.model);
        this.#owners.set(station, upstream);
        return station;
      });
      group = { key: stations.map(({ id }) => id).join(' '), stations };
      this.#groups.set(choice, group);
    }
    return group;
  }

  ownerOf(station: Station): Upstream {
    return this.#owners.get(station) as Upstream; // Groups are made of owned stations.
  }

  /** Brings the stations up to what is known of their upstreams. */
  refresh(now: number): void {
    for (const upstream of this.#upstreams) {
      const { breaker, refusesQuickly } = upstream;
      const isTried = breaker.canAdmit(now) || (refusesQuickly && !this.#hasPeer(upstream));
      upstream.refresh(upstream.isWilling && isTried);
    }
  }

  /** Whether one that is set aside may have had its time: the one thing that changes stations without an event. */
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
