/**
 * Traces of requests, for an OpenTelemetry collector: a span for each request and, made from its times once it has
 * ended, one for its wait, one for the engine and one for the stream. It writes names, numbers and codes; never a prompt,
 * a completion or an address. Importing it loads the SDK: do so only where traces are wanted.
 */
import {
  diag,
  DiagLogLevel,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
  type Attributes,
  type Context,
  type Span,
  type SpanContext,
  type Tracer,
} from '@opentelemetry/api';
import { ExportResultCode, parseTraceParent, type ExportResult } from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { defaultResource, resourceFromAttributes } from '@opentelemetry/resources';
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  TraceIdRatioBasedSampler,
  TracerProvider,
  type ReadableSpan,
  type Sampler,
} from '@opentelemetry/sdk-trace';
import { errorTable } from '../wire/errors.ts';
import type { LiveRequest } from '../request/live.ts';
import type { Log } from '../log/log.ts';
import type { Settlement } from '../request/settlement.ts';
import type { RequestObserver } from '../request/observer.ts';

/** The values of OTEL_TRACES_SAMPLER; one that is `parentbased` does as the client's `traceparent` says, if there is one. */
type SamplerName =
  | 'always_on'
  | 'always_off'
  | 'traceidratio'
  | 'parentbased_always_on'
  | 'parentbased_always_off'
  | 'parentbased_traceidratio';

export interface TracingOptions {
  /** The collector, as in OTEL_EXPORTER_OTLP_ENDPOINT: `/v1/traces` is put behind it. */
  endpoint: string;
  /** Sent with every batch: the collector's credentials. */
  headers: Readonly<Record<string, string>>;
  serviceName: string;
  version: string;
  sampler: SamplerName;
  /** Which part of the traces is kept, from 0 to 1; only the samplers by ratio read it. */
  sampleRatio: number;
  /** Returns the kind of an upstream: its `gen_ai.provider.name`. */
  kindOf: (upstream: string) => string | undefined;
  /** Takes keys out of a text; whatever a client has named may contain one. */
  mask: (text: string) => string;
  /** Returns whether an engine serves a model under that name, so that it is no client's invention. */
  isServed: (model: string) => boolean;
  log: Log;
  /** Returns the milliseconds since 1970 of a time on the clock of the requests. */
  epochOf: (monotonicMs: number) => number;
}

/** How long spans are gathered. */
const gatherMs = 1_000;
/** A batch is made into bytes in one go, and nothing else runs meanwhile. */
const maxBatchSpans = 256;
/** What waits for a collector that is slow or away; the rest is dropped. */
const maxWaitingSpans = 4_096;
/** No value is longer, whatever a client has put into it. */
const maxValueLength = 200;
/** How long the last spans may take when the process ends. */
const closeMs = 2_000;

/** The names that the GenAI conventions have for what the routes do, by path without `/v1`. */
const operations = new Map([
  ['/chat/completions', 'chat'],
  ['/responses', 'chat'],
  ['/messages', 'chat'],
  ['/completions', 'text_completion'],
  ['/completion', 'text_completion'],
  ['/infill', 'text_completion'],
  ['/embeddings', 'embeddings'],
  ['/embedding', 'embeddings'],
]);

function operationOf(path: string): string | undefined {
  return operations.get(path.replace(/^\/v1/, ''));
}

function nameOf(operation: string, model: string | undefined): string {
  return model === undefined ? operation : `${operation} ${model.slice(0, maxValueLength)}`;
}

function samplerOf({ sampler, sampleRatio }: TracingOptions): Sampler {
  const name = sampler.replace('parentbased_', '');
  const ofRoots = {
    always_on: () => new AlwaysOnSampler(),
    always_off: () => new AlwaysOffSampler(),
    traceidratio: () => new TraceIdRatioBasedSampler(sampleRatio),
  };
  const root = ofRoots[name as keyof typeof ofRoots]();
  return name === sampler ? root : new ParentBasedSampler({ root });
}

/** Returns the context of a `traceparent`; one that is not valid, or none, begins a new trace. */
function contextOf(traceparent: string | undefined): Context {
  const parent = traceparent === undefined ? null : parseTraceParent(traceparent);
  if (parent === null) return ROOT_CONTEXT;
  return trace.setSpanContext(ROOT_CONTEXT, { ...parent, isRemote: true });
}

function traceparentOf({ traceId, spanId, traceFlags }: SpanContext): string {
  return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, '0')}`;
}

/** What went wrong: its `error.type`, and whether it is the fault of this side and not of the client. */
function errorOf({ code, status }: Settlement): { type: string; isFault: boolean } | undefined {
  if (code !== undefined) return { type: code, isFault: errorTable[code].status >= 500 };
  return status >= 400 ? { type: `${status}`, isFault: status >= 500 } : undefined;
}

function attributesOf(record: Settlement, method: string, provider: string | undefined) {
  return {
    'http.request.method': method,
    'http.route': record.route,
    'http.response.status_code': record.status,
    'error.type': errorOf(record)?.type,
    'gen_ai.operation.name': operationOf(record.route),
    'gen_ai.request.model': record.model,
    'gen_ai.request.stream': record.stream,
    'gen_ai.provider.name': provider,
    'gen_ai.usage.input_tokens': record.promptTokens,
    'gen_ai.usage.cache_read.input_tokens': record.cachedTokens,
    'gen_ai.usage.output_tokens': record.completionTokens,
    'llm_gateway.request_id': record.requestId,
    'llm_gateway.key_id': record.caller.keyId,
    'llm_gateway.principal': record.caller.principal,
    'llm_gateway.upstream': record.upstream,
    'llm_gateway.outcome': record.outcome,
    'llm_gateway.queued_ms': record.queuedMs,
    'llm_gateway.tokens_are': record.tokensAre,
    'llm_gateway.cache_hit': record.isCacheHit || undefined,
  } satisfies Attributes;
}

/**
 * Sends spans by OTLP, and logs when they stop getting through and when they do again, each once. The SDK itself reads
 * OTEL_EXPORTER_OTLP_TIMEOUT, _COMPRESSION, _CERTIFICATE, _CLIENT_KEY and _CLIENT_CERTIFICATE.
 */
class Exporter extends OTLPTraceExporter {
  readonly #log: Log;
  /** Spans that have not got through since some last did. */
  #lostSpans = 0;

  constructor({ endpoint, headers, log }: TracingOptions) {
    super({ url: `${endpoint.replace(/\/+$/, '')}/v1/traces`, headers: { ...headers } });
    this.#log = log;
  }

  override export(spans: ReadableSpan[], done: (result: ExportResult) => void): void {
    super.export(spans, ({ code, error }) => {
      if (code === ExportResultCode.SUCCESS) this.#succeeded();
      else this.#failed(spans.length, error);
      // All that the processor could do with a failure is to report it once more.
      done({ code: ExportResultCode.SUCCESS });
    });
  }

  #succeeded(): void {
    if (this.#lostSpans === 0) return;
    this.#log.info({ lostSpans: this.#lostSpans }, 'traces get through again');
    this.#lostSpans = 0;
  }

  #failed(spans: number, error: Error | undefined): void {
    if (this.#lostSpans === 0) {
      const code = error !== undefined && 'code' in error ? error.code : undefined;
      this.#log.warn({ cause: error?.message || undefined, code }, 'traces do not get through');
    }
    this.#lostSpans += spans;
  }
}

/** Has the SDK's own complaints in the log, each kind once; left alone it keeps them to itself. */
function logComplaints(log: Log): void {
  const seen = new Set<string>();
  function complain(...parts: unknown[]): void {
    const text = parts.filter((part) => typeof part === 'string').join(' ');
    const kind = text.replace(/\d+/g, '');
    if (seen.has(kind) || seen.size >= 100) return;
    seen.add(kind);
    log.warn({ detail: text.slice(0, 500) }, 'tracing has a problem');
  }
  const silent = () => {};
  diag.setLogger(
    { error: complain, warn: complain, info: silent, debug: silent, verbose: silent },
    { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true },
  );
}

/** A part of a request's life; times on the clock of the requests. */
interface Part {
  name: 'queue' | 'upstream' | 'stream';
  from: number;
  to: number;
}

/** Returns what a request has gone through, from its times. */
function partsOf(request: LiveRequest, record: Settlement): Part[] {
  const { phase, queuedAt, sentAt, firstByteAt } = request;
  const endedAt = request.startedAt + record.totalMs;
  // It may be there again after an engine that could not be reached.
  if (phase === 'queued') return [{ name: 'queue', from: queuedAt, to: endedAt }];
  const parts: Part[] = [];
  if (queuedAt > 0) parts.push({ name: 'queue', from: queuedAt, to: queuedAt + record.queuedMs });
  if (sentAt === 0 || record.isCacheHit) return parts;
  parts.push({ name: 'upstream', from: sentAt, to: endedAt });
  if (record.stream && firstByteAt > 0) {
    parts.push({ name: 'stream', from: firstByteAt, to: endedAt });
  }
  return parts;
}

/** A request whose span is open. */
interface Traced {
  request: LiveRequest;
  span: Span;
  /** When it began, in milliseconds since 1970. */
  startMs: number;
}

/** Makes the spans and sends them, aside from the requests. */
export class Tracing implements RequestObserver {
  readonly #options: TracingOptions;
  readonly #provider: TracerProvider;
  readonly #tracer: Tracer;
  /** By the `traceparent` of the span: clients choose the ids of requests, and may choose one twice. */
  readonly #open = new Map<string | undefined, Traced>();

  constructor(options: TracingOptions) {
    const { serviceName, version, log } = options;
    logComplaints(log);
    const processor = new BatchSpanProcessor({
      exporter: new Exporter(options),
      scheduledDelayMillis: gatherMs,
      maxExportBatchSize: maxBatchSpans,
      maxQueueSize: maxWaitingSpans,
    });
    const service = { 'service.name': serviceName, 'service.version': version };
    this.#options = options;
    this.#provider = new TracerProvider({
      resource: defaultResource().merge(resourceFromAttributes(service)),
      sampler: samplerOf(options),
      spanLimits: { attributeValueLengthLimit: maxValueLength },
      spanProcessors: [processor],
    });
    this.#tracer = this.#provider.getTracer('llm-gateway', version);
  }

  /** Opens the request's span, under the client's where its `traceparent` names one; the engine gets ours in its place. */
  started(request: LiveRequest): void {
    const { method, path } = request.route;
    const startMs = this.#options.epochOf(request.startedAt);
    const span = this.#tracer.startSpan(
      `${method} ${path}`,
      { kind: SpanKind.SERVER, startTime: startMs },
      contextOf(request.traceparent),
    );
    const traceparent = traceparentOf(span.spanContext());
    request.traced(traceparent);
    if (span.isRecording()) this.#open.set(traceparent, { request, span, startMs });
  }

  isLong(): void {
    // A span is sent when it has ended.
  }

  settled(record: Settlement): void {
    const traced = this.#open.get(record.traceparent);
    if (traced === undefined) return; // Not sampled.
    this.#open.delete(record.traceparent);
    const { request, span, startMs } = traced;
    const { kindOf } = this.#options;
    const operation = operationOf(record.route);
    const shown = this.#shown(record, request);
    if (operation !== undefined) span.updateName(nameOf(operation, shown.model));
    const provider = record.upstream === undefined ? undefined : kindOf(record.upstream);
    span.setAttributes(attributesOf(shown, request.route.method, provider));
    if (errorOf(record)?.isFault) span.setStatus({ code: SpanStatusCode.ERROR });
    for (const part of partsOf(request, record)) this.#addPart(traced, part, record);
    span.end(startMs + record.totalMs);
  }

  /** Returns the record with what its client has named as it may be shown. */
  #shown(record: Settlement, { uniqueId }: LiveRequest): Settlement {
    const { mask, isServed } = this.#options;
    const { model, caller, requestId } = record;
    const { keyId, principal } = caller;
    return {
      ...record,
      model: model === undefined || isServed(model) ? model : mask(model),
      requestId: uniqueId === requestId ? requestId : mask(requestId),
      caller: { ...caller, principal: principal === keyId ? principal : mask(principal) },
    };
  }

  #addPart({ request, span, startMs }: Traced, part: Part, record: Settlement): void {
    const offset = startMs - request.startedAt;
    const startTime = offset + part.from;
    const context = trace.setSpan(ROOT_CONTEXT, span);
    const isUpstream = part.name === 'upstream';
    const kind = isUpstream ? SpanKind.CLIENT : SpanKind.INTERNAL;
    const added = this.#tracer.startSpan(part.name, { kind, startTime }, context);
    if (isUpstream) {
      const error = errorOf(record);
      added.setAttributes({ 'llm_gateway.upstream': record.upstream, 'error.type': error?.type });
      // Of the two sides of HTTP, the one that asks counts a 4xx as an error, too.
      const isError = error?.isFault || (error !== undefined && record.code === undefined);
      if (isError) added.setStatus({ code: SpanStatusCode.ERROR });
    }
    added.end(offset + part.to);
  }

  /** Sends the spans that wait; stops waiting after two seconds. */
  async close(): Promise<void> {
    const sent = this.#provider.shutdown().then(
      () => true,
      () => false,
    );
    const isSent = await Promise.race([sent, Bun.sleep(closeMs).then(() => false)]);
    if (!isSent) this.#options.log.warn('the last traces were not sent');
  }
}
