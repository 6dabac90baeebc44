/**
 * The specification of the engines' native formats: llama.cpp's native routes, reranking, vLLM's scores. It has the
 * commonly used fields; other fields are allowed and passed on unchanged.
 */
import {
  anyObject,
  anyOf,
  arrayOf,
  boolean,
  dataFrames,
  eventStream,
  integer,
  json,
  number,
  object,
  ref,
  string,
  someOf,
} from './parts.ts';
import type { RouteDoc, Schema } from './parts.ts';

const tag = 'llama.cpp';

const model = string('The model. Optional if the engine serves only one.', {
  nullable: true,
});
const texts = anyOf('A text, or a list of texts.', string(), arrayOf(string()));

/** The fields that steer llama.cpp's own generation. */
const nativeSampling: Record<string, Schema> = {
  n_predict: integer('The maximum number of tokens to generate; -1 for no limit.'),
  temperature: number(),
  top_k: integer(),
  top_p: number(),
  min_p: number(),
  repeat_penalty: number(),
  seed: integer(),
  stop: arrayOf(string()),
  stream: boolean('Send the answer as an event stream while it is generated.'),
  cache_prompt: boolean('Reuse the part of the slot’s last prompt that is the same.'),
  n_probs: integer(),
  samplers: arrayOf(string()),
};

export const engineSchemas: Record<string, Schema> = {
  NativeCompletionRequest: object(
    {
      model,
      prompt: anyOf(
        'A text, tokens and texts mixed, or a list of such prompts.',
        string(),
        someOf(anyOf('A text, a token, or a prompt.', string(), integer(), arrayOf(integer()))),
        anyObject(),
      ),
      ...nativeSampling,
      grammar: string('A grammar that the answer must follow (GBNF).'),
      json_schema: anyObject('A JSON Schema that the answer must follow.'),
    },
    ['prompt'],
  ),
  NativeCompletion: object(
    {
      index: integer(),
      content: string(),
      tokens: arrayOf(integer()),
      stop: boolean('True in the last event of a stream.'),
      stop_type: string('`none`, `eos`, `limit` or `word`.'),
      model: string(),
      tokens_predicted: integer(),
      tokens_evaluated: integer(),
      truncated: boolean(),
      timings: anyObject(),
    },
    ['content', 'stop'],
  ),
  NativeCompletions: anyOf(
    'One completion, or a list when several prompts were sent.',
    ref('NativeCompletion'),
    arrayOf(ref('NativeCompletion')),
  ),
  InfillRequest: object(
    {
      model,
      input_prefix: string('The code before the gap.'),
      input_suffix: string('The code after the gap.'),
      input_extra: arrayOf(object({ filename: string(), text: string() }), 'Other files.'),
      prompt: string('The beginning of the gap’s text.'),
      ...nativeSampling,
    },
    ['input_prefix', 'input_suffix'],
  ),
  NativeEmbeddingRequest: {
    ...object({ model, content: texts, input: texts }),
    anyOf: [
      { title: 'llama.cpp’s name', required: ['content'] },
      { title: 'OpenAI’s name', required: ['input'] },
    ],
  },
  NativeEmbeddings: arrayOf(
    object({ index: integer(), embedding: arrayOf(arrayOf(number())) }, ['embedding']),
    'One vector per text, or one per token if the engine does not pool.',
  ),
  TokenizeRequest: object(
    {
      content: string(),
      add_special: boolean('Add the special tokens that begin a prompt.'),
      parse_special: boolean('Turn the names of special tokens into these tokens.'),
      with_pieces: boolean('Return the text of each token, too.'),
    },
    ['content'],
  ),
  Tokens: object(
    {
      tokens: arrayOf(
        anyOf(
          'A token; with `with_pieces` also its text, or its bytes if they are not valid text.',
          integer(),
          object({ id: integer(), piece: anyOf('', string(), arrayOf(integer())) }, ['id']),
        ),
      ),
    },
    ['tokens'],
  ),
  DetokenizeRequest: object({ tokens: arrayOf(integer()) }, ['tokens']),
  DetokenizedText: object({ content: string() }, ['content']),
  AppliedTemplate: object({ prompt: string() }, ['prompt']),
  RerankRequest: object(
    {
      model,
      query: string(),
      documents: arrayOf(anyOf('A document.', string(), anyObject())),
      top_n: integer('The number of best documents to return.'),
    },
    ['query', 'documents'],
  ),
  Ranking: object(
    {
      model: string(),
      results: arrayOf(
        object({ index: integer('The index in `documents`.'), relevance_score: number() }, [
          'index',
          'relevance_score',
        ]),
      ),
      usage: ref('Usage'),
    },
    ['results'],
  ),
  ScoreRequest: object({ model, text_1: texts, text_2: texts }, ['text_1', 'text_2']),
  ScoreList: object(
    {
      object: string('`list`'),
      model: string(),
      data: arrayOf(object({ index: integer(), score: number() }, ['score'])),
      usage: ref('Usage'),
    },
    ['data'],
  ),
  AnyRequest: anyObject('The format is the engine’s own.'),
  AnyAnswer: anyObject('The format is the engine’s own.'),
  TextsRequest: object({ model, input: texts }, ['input']),
  ClassificationList: object(
    {
      object: string('`list`'),
      model: string(),
      data: arrayOf(object({ index: integer(), label: string(), probs: arrayOf(number()) })),
      usage: ref('Usage'),
    },
    ['data'],
  ),
  PoolingList: object(
    {
      object: string('`list`'),
      model: string(),
      data: arrayOf(
        object({
          index: integer(),
          object: string('`pooling`'),
          data: anyOf(
            'A vector, a matrix, or base64.',
            arrayOf(number()),
            arrayOf(arrayOf(number())),
            string(),
          ),
        }),
      ),
      usage: ref('Usage'),
    },
    ['data'],
  ),
};

const nativeAnswer: RouteDoc['answer'] = {
  ...json('NativeCompletions', {
    'A completion': {
      index: 0,
      content: ' Хорошо!',
      tokens: [],
      stop: true,
      stop_type: 'eos',
      model: 'smollm2',
      tokens_predicted: 2,
      tokens_evaluated: 8,
    },
  }),
  ...eventStream(
    'With `stream: true`: each event holds a NativeCompletion. A complete stream ends with one whose `stop` is true.',
    dataFrames(
      { index: 0, content: ' Хорошо!', tokens: [13], stop: false },
      { index: 0, content: '', tokens: [], stop: true, stop_type: 'eos', model: 'smollm2' },
    ),
  ),
};

const nativeCompletion: RouteDoc = {
  tag,
  body: json('NativeCompletionRequest', {
    'A completion': { prompt: 'Привет! Как дела?', n_predict: 100, temperature: 0.7 },
    'A streamed completion': { prompt: 'Привет! Как дела?', n_predict: 100, stream: true },
  }),
  answer: nativeAnswer,
};

const nativeEmbedding: RouteDoc = {
  tag,
  body: json('NativeEmbeddingRequest', { 'One text': { content: 'Привет!' } }),
  answer: json('NativeEmbeddings', {
    'One vector, shortened': [{ index: 0, embedding: [[-0.0129, -0.0188, 0.0007]] }],
  }),
};

const asV1 = (path: string) => `With an engine other than llama.cpp the same as \`/v1/${path}\`.`;

const rerank: RouteDoc = {
  tag: 'Ranking and scoring',
  body: json('RerankRequest', {
    'Two documents': {
      query: 'Где живут панды?',
      documents: ['Панда живёт в Китае.', 'Сегодня идёт дождь.'],
      top_n: 1,
    },
  }),
  answer: json('Ranking', {
    'The better one': { model: 'reranker', results: [{ index: 0, relevance_score: 4.2 }] },
  }),
};

const score: RouteDoc = {
  tag: 'Ranking and scoring',
  body: json('ScoreRequest', {
    'One pair': { text_1: 'Где живут панды?', text_2: 'Панда живёт в Китае.' },
  }),
  answer: json('ScoreList', {
    'One score': {
      object: 'list',
      model: 'reranker',
      data: [{ index: 0, object: 'score', score: 0.98 }],
    },
  }),
};

const classes = {
  object: 'list',
  model: 'classifier',
  data: [{ index: 0, label: 'positive', probs: [0.97, 0.03], num_classes: 2 }],
};

const classification: RouteDoc = {
  tag: 'Ranking and scoring',
  body: json('TextsRequest', { 'One text': { input: 'Какой хороший день!' } }),
  answer: json('ClassificationList', { 'One class': classes }),
};

export const engineDocs: Record<string, RouteDoc> = {
  '/v1/rerank': rerank,
  '/v1/reranking': rerank,
  '/rerank': rerank,
  '/reranking': rerank,
  '/v2/rerank': rerank,
  '/v1/score': score,
  '/score': score,
  '/v1/classify': classification,
  '/classify': {
    ...classification,
    description: 'SGLang has a format of its own here: its members are `text` and `embedding`.',
    body: json('AnyRequest', { 'One text (vLLM)': { input: 'Какой хороший день!' } }),
    answer: json('AnyAnswer', { 'One class (vLLM)': classes }),
  },
  '/pooling': {
    tag: 'Ranking and scoring',
    body: json('TextsRequest', { 'One text': { input: 'Привет!' } }),
    answer: json('PoolingList', {
      'One vector, shortened': {
        object: 'list',
        model: 'pooler',
        data: [{ index: 0, object: 'pooling', data: [-0.0129, -0.0188, 0.0007] }],
      },
    }),
  },
  '/completion': nativeCompletion,
  '/completions': { ...nativeCompletion, description: asV1('completions') },
  '/infill': {
    tag,
    body: json('InfillRequest', {
      'A gap in a function': {
        input_prefix: 'def add(a, b):\n    ',
        input_suffix: '\n\nprint(add(1, 2))\n',
        n_predict: 32,
      },
    }),
    answer: nativeAnswer,
  },
  '/embedding': nativeEmbedding,
  '/embeddings': { ...nativeEmbedding, description: asV1('embeddings') },
  '/tokenize': {
    tag,
    body: json('TokenizeRequest', {
      'A text': { content: 'Hi there' },
      'With the text of each token': { content: 'Hi there', with_pieces: true },
    }),
    answer: json('Tokens', {
      'Two tokens': { tokens: [26843, 665] },
      'With their text': {
        tokens: [
          { id: 26843, piece: 'Hi' },
          { id: 665, piece: ' there' },
        ],
      },
    }),
  },
  '/detokenize': {
    tag,
    body: json('DetokenizeRequest', { 'Two tokens': { tokens: [26843, 665] } }),
    answer: json('DetokenizedText', { 'Their text': { content: 'Hi there' } }),
  },
  '/apply-template': {
    tag,
    body: json('ChatCompletionRequest', {
      'A conversation': { messages: [{ role: 'user', content: 'Hi' }] },
    }),
    answer: json('AppliedTemplate', {
      'The prompt': { prompt: '<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n' },
    }),
  },
};
