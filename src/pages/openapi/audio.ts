/**
 * The specification of the bodies of OpenAI's audio routes: forms with a recording, and sound. Other fields are allowed
 * and passed on unchanged.
 */
import { boolean, form, json, number, object, string } from './parts.ts';
import type { Content, RouteDoc, Schema } from './parts.ts';

const tag = 'OpenAI';

export const audioSchemas: Record<string, Schema> = {
  // Swagger UI fills the form with these examples; for a field without one it sends the word "string".
  AudioRequest: object(
    {
      file: string('The recording.', { format: 'binary' }),
      model: string('The model. Optional if the engine serves only one.', {
        example: 'whisper-1',
      }),
      language: string('The spoken language, as an ISO 639-1 code.', { example: 'ru' }),
      prompt: string('Text that comes before the recording.', { example: 'Привет!' }),
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
      model: string('The model. Optional if the engine serves only one.', {
        nullable: true,
      }),
      input: string('The text to speak.'),
      voice: string(),
      response_format: string('`mp3`, `opus`, `aac`, `flac`, `wav` or `pcm`.'),
      speed: number(),
    },
    ['input'],
  ),
};

const audio: Omit<RouteDoc, 'tag'> = {
  description:
    'With curl: `-F file=@speech.wav -F response_format=json`. In the examples, `file` is a file name.',
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
    'text/event-stream': { schema: string('With `stream`, if the engine supports it.') },
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
    description: 'The answer is audio. Swagger UI cannot play it; save it with `curl -o`.',
    body: json('SpeechRequest', {
      'A greeting': { input: 'Привет! Как дела?', voice: 'alloy', response_format: 'wav' },
    }),
    answer: sound,
  },
};
