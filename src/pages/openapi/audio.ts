/**
 * The bodies of OpenAI's audio routes as the specification shows them: forms that carry a recording, and sound. Fields
 * that are not named here are allowed and pass unchanged.
 */
import { boolean, form, json, number, object, string } from './parts.ts';
import type { Content, RouteDoc, Schema } from './parts.ts';

const tag = 'OpenAI';

export const audioSchemas: Record<string, Schema> = {
  // With the examples of its fields Swagger UI fills the form; without one it would send the word "string".
  AudioRequest: object(
    {
      file: string('The recording.', { format: 'binary' }),
      model: string('The model. May be left out where the engine serves only one.', {
        example: 'whisper-1',
      }),
      language: string('The language spoken, as an ISO 639-1 code.', { example: 'ru' }),
      prompt: string('A text that leads into the recording.', { example: 'Привет!' }),
      response_format: string('`json`, `text`, `srt`, `verbose_json` or `vtt`.', {
        example: 'json',
      }),
      temperature: number(undefined, { example: 0 }),
      stream: boolean(undefined, { example: false }),
    },
    ['file'],
  ),
  Transcription: object({ text: string() }, ['text']),
  SpeechRequest: object(
    {
      model: string('The model. May be left out where the engine serves only one.', {
        nullable: true,
      }),
      input: string('What to say.'),
      voice: string(),
      response_format: string('`mp3`, `opus`, `aac`, `flac`, `wav` or `pcm`.'),
      speed: number(),
    },
    ['input'],
  ),
};

const audio: Omit<RouteDoc, 'tag'> = {
  description:
    'With curl, `-F file=@speech.wav -F response_format=json`: the examples name the file.',
  body: form('AudioRequest', {
    'A recording': {
      file: 'speech.wav',
      model: 'whisper-1',
      language: 'ru',
      response_format: 'json',
    },
    'A recording, as subtitles': { file: 'speech.wav', response_format: 'srt' },
  }),
  answer: {
    ...json('Transcription', { 'A transcription': { text: 'Привет! Как дела?' } }),
    'text/plain': { schema: string('With `response_format` `text`, `srt` or `vtt`.') },
    'text/event-stream': { schema: string('With `stream`, where the engine can.') },
  },
};

const sound: Content = {
  'audio/mpeg': { schema: string(undefined, { format: 'binary' }) },
  'audio/wav': { schema: string(undefined, { format: 'binary' }) },
  'application/octet-stream': { schema: string(undefined, { format: 'binary' }) },
};

export const audioDocs: Record<string, RouteDoc> = {
  '/v1/audio/transcriptions': { tag, ...audio },
  '/v1/audio/translations': { tag, ...audio },
  '/v1/audio/speech': {
    tag,
    description: 'The answer is sound. Swagger UI cannot play it: save it with `curl -o`.',
    body: json('SpeechRequest', {
      'A greeting': { input: 'Привет! Как дела?', voice: 'alloy', response_format: 'wav' },
    }),
    answer: sound,
  },
};
