// Latest wins: never two requests in flight for one view. What was asked while one is under way
// replaces what waited before it, so a fast drag shows every answer the server can give, and
// nothing piles up.

export class Latest {
  // call(payload) -> promise; answer(result, meta) on success; fail(meta) when nothing came back.
  constructor(call, answer, fail) {
    this.call = call;
    this.answer = answer;
    this.fail = fail;
    this.busy = false;
    this.waiting = null;
  }

  send(payload, meta) {
    if (this.busy) {
      this.waiting = { payload, meta };
      return;
    }
    this.#go(payload, meta);
  }

  drop() {
    this.waiting = null;
  }

  async #go(payload, meta) {
    this.busy = true;
    let result;
    try {
      result = await this.call(payload);
    } catch {
      result = undefined;
    }
    this.busy = false;
    const next = this.waiting;
    this.waiting = null;
    if (next) this.#go(next.payload, next.meta);
    if (result && typeof result.ok === "boolean") this.answer(result, meta);
    else this.fail(meta);
  }
}
