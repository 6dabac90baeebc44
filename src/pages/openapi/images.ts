/**
 * The specification of the bodies of OpenAI's routes for images and moderations. Other fields are allowed and passed on
 * unchanged.
 */
import {
  anyObject,
  anyOf,
  arrayOf,
  boolean,
  form,
  integer,
  json,
  object,
  string,
} from './parts.ts';
import type { RouteDoc, Schema } from './parts.ts';

const tag = 'OpenAI';

const model = string('The model. Optional if the engine serves only one.', { nullable: true });

export const imageSchemas: Record<string, Schema> = {
  ModerationRequest: object(
    {
      model,
      input: anyOf(
        'A text, several, or parts with images.',
        string(),
        arrayOf(anyOf('A text or a part.', string(), anyObject())),
      ),
    },
    ['input'],
  ),
  ModerationList: object(
    {
      id: string(),
      model: string(),
      results: arrayOf(
        object({ flagged: boolean(), categories: anyObject(), category_scores: anyObject() }, [
          'flagged',
        ]),
      ),
    },
    ['results'],
  ),
  ImageRequest: object(
    {
      model,
      prompt: string('What the images show.'),
      n: integer('The number of images.'),
      size: string('For instance `1024x1024`.'),
      response_format: string('`url` or `b64_json`.'),
    },
    ['prompt'],
  ),
  ImageEditRequest: object(
    {
      image: string('The image to change.', { format: 'binary' }),
      prompt: string('What is to change.', { example: 'Добавь снег' }),
      mask: string('Where it may change: the transparent parts.', { format: 'binary' }),
      model: string('The model. Optional if the engine serves only one.', { example: 'sd' }),
    },
    ['image', 'prompt'],
  ),
  ImageList: object(
    {
      created: integer('Seconds since 1970.'),
      data: arrayOf(object({ b64_json: string(), url: string(), revised_prompt: string() })),
    },
    ['data'],
  ),
};

const images = { created: 1795478400, data: [{ b64_json: 'iVBORw0KGgo=' }] };

export const imageDocs: Record<string, RouteDoc> = {
  '/v1/moderations': {
    tag,
    body: json('ModerationRequest', { 'One text': { input: 'Привет!' } }),
    answer: json('ModerationList', {
      'Nothing found': {
        id: 'modr-1',
        model: 'guard',
        results: [
          { flagged: false, categories: { violence: false }, category_scores: { violence: 0.01 } },
        ],
      },
    }),
  },
  '/v1/images/generations': {
    tag,
    body: json('ImageRequest', { 'One image': { prompt: 'Панда на дереве', size: '512x512' } }),
    answer: json('ImageList', { 'One image, shortened': images }),
  },
  '/v1/images/edits': {
    tag,
    body: form('ImageEditRequest', { 'One image': { image: 'panda.png', prompt: 'Добавь снег' } }),
    answer: json('ImageList', { 'One image, shortened': images }),
  },
};
