/**
 * What stops a start: a setting that is wrong. Its message is one line that
 * names the setting and where it came from, its value, and what is allowed;
 * the process prints it and exits with `EXIT_CONFIG`.
 */

/** sysexits: configuration error. */
export const EXIT_CONFIG = 78;

export class ConfigError extends Error {
  constructor(message: string) {
    super(message.replaceAll(/\s*[\r\n]+\s*/g, ' '));
    this.name = 'ConfigError';
  }
}

const SHOWN_CHARACTERS_MAX = 80;

/** A value as it may stand in a one-line message: quoted, shortened, without control characters. */
export function shown(value: unknown): string {
  let text: string;
  if (value === undefined) return 'missing';
  if (typeof value === 'number' || typeof value === 'bigint') text = String(value);
  else {
    try {
      text = JSON.stringify(value) ?? String(value);
    } catch {
      text = String(value);
    }
  }
  // JSON leaves U+007F–U+009F and the line separators as they are; a terminal does not.
  text = text.replaceAll(/[\u007f-\u009f\u2028\u2029]/g, '?');
  return text.length > SHOWN_CHARACTERS_MAX ? `${text.slice(0, SHOWN_CHARACTERS_MAX)}…` : text;
}
