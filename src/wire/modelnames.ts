/**
 * Where in a request an engine may read the name of a model, other than in the one member `model` that the gateway
 * reads and checks. A key that is limited to some models may use none of these places.
 */

/**
 * `model` in other spellings, because Go ignores case and PHP-like parsers read `model[]` as a list; `models` and
 * `fallbacks` of OpenRouter and LiteLLM; adapters of SGLang, TGI and MLX, and MLX's draft model.
 */
const elsewhere = /^(models?|fallbacks|lora_path|adapters?|adapter_id|draft_model)(\[.*)?$/isu;

/** Returns whether an engine may read this member of a body, or this field of a form, as the name of a model. */
export function namesModelElsewhere(name: string): boolean {
  return name !== 'model' && elsewhere.test(name);
}

/** Returns whether Ollama reads this member of a body as the name of a model where there is no `model`. */
export function namesModelToOllama(name: string): boolean {
  return /^name$/i.test(name);
}

/** Returns whether a query names a model. @param search with its question mark, or nothing */
export function namesModelInQuery(search: string): boolean {
  return search
    .slice(1)
    .split(/[&;]/)
    .some((parameter) => elsewhere.test(decoded(parameter.split('=', 1)[0] as string).trim()));
}

function decoded(name: string): string {
  try {
    return decodeURIComponent(name.replaceAll('+', ' '));
  } catch {
    return 'model'; // Parsers differ: `%u006d` is an m to some, and a stray percent sign is left out by others.
  }
}

/** Returns a name as Ollama compares it: without regard to case, and the tag `latest` is that of a name without one. */
export function foldedName(name: string): string {
  return name.toLowerCase().replace(/:latest$/, '');
}
