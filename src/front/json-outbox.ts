/**
 * What a JSON socket is to be sent, in order, until it is flushed: frames of
 * one message, and frames of several, for answers to the requests of an array.
 */
import type { Outlet } from './sending.ts';

export class JsonOutbox {
  private readonly outlet: Outlet;
  /** An array is a frame that may still grow. */
  private frames: (string | string[])[] = [];

  constructor(outlet: Outlet) {
    this.outlet = outlet;
  }

  add(text: string, inArray: boolean): void {
    const last = this.frames[this.frames.length - 1];
    if (!inArray) this.frames.push(text);
    else if (Array.isArray(last)) last.push(text);
    else this.frames.push([text]);
  }

  flush(): void {
    const { frames } = this;
    if (frames.length === 0) return;
    this.frames = [];
    this.outlet.together(() => {
      for (const frame of frames) {
        this.outlet.send(typeof frame === 'string' ? frame : `[${frame.join(',')}]`, false);
      }
    });
  }
}
