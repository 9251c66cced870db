/**
 * Questions and news between two processes of this program, over anything that carries messages of JSON in order. A
 * question has its answer within a bound, or fails: whoever is asked may be paused, or gone.
 */

/** A question that got no answer. */
export class NoAnswer extends Error {
  constructor(subject: string, why: string) {
    super(`no answer to ${subject}: ${why}`)
    this.name = 'NoAnswer'
  }
}

/** What is asked under each subject, and what is answered; news are questions that nobody answers. */
export type Subjects = Readonly<Record<string, readonly [asked: unknown, answered: unknown]>>

type Asked<S extends Subjects, K extends keyof S> = S[K][0]
type Answered<S extends Subjects, K extends keyof S> = S[K][1]

interface Message {
  readonly subject?: string
  readonly body?: unknown
  /** Of a question that wants an answer. */
  readonly id?: number
  /** Of the question that this answers. */
  readonly to?: number
  readonly failed?: true
}

interface Open {
  readonly subject: string
  readonly timer: NodeJS.Timeout
  resolve(value: unknown): void
  reject(error: NoAnswer): void
}

/** One end. `Heard` is what the other end may say, `Said` what this one does. */
export class Channel<Heard extends Subjects, Said extends Subjects> {
  readonly #send: (message: object) => void
  readonly #handlers = new Map<string, (body: never) => unknown>()
  readonly #open = new Map<number, Open>()
  #lastId = 0
  #isClosed = false

  /** `send` may fail silently: then there is no answer. */
  constructor(send: (message: object) => void) {
    this.#send = send
  }

  /** Names who answers a subject, or takes its news. */
  on<K extends keyof Heard & string>(
    subject: K,
    handler: (body: Asked<Heard, K>) => Answered<Heard, K> | Promise<Answered<Heard, K>>,
  ): void {
    this.#handlers.set(subject, handler)
  }

  /** Says something without waiting. */
  tell<K extends keyof Said & string>(subject: K, body: Asked<Said, K>): void {
    if (!this.#isClosed) this.#send({ subject, body })
  }

  /** @throws NoAnswer after so many milliseconds, or as soon as the other end is gone or fails */
  ask<K extends keyof Said & string>(
    subject: K,
    body: Asked<Said, K>,
    milliseconds: number,
  ): Promise<Answered<Said, K>> {
    if (this.#isClosed) return Promise.reject(new NoAnswer(subject, 'the other end is gone'))
    const id = ++this.#lastId
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#fail(id, `waited ${milliseconds} ms`), milliseconds)
      this.#open.set(id, { subject, timer, resolve: resolve as (value: unknown) => void, reject })
      this.#send({ subject, body, id })
    })
  }

  /** Takes what the other end has sent. What is none of ours is ignored, and what comes after the end. */
  receive(message: unknown): void {
    if (this.#isClosed || typeof message !== 'object' || message === null) return
    const { subject, body, id, to, failed } = message as Message
    if (to !== undefined) {
      if (failed) this.#fail(to, 'it failed')
      else this.#settle(to)?.resolve(body)
      return
    }
    const handler = subject === undefined ? undefined : this.#handlers.get(subject)
    if (handler !== undefined) void this.#answer(handler, body, id)
  }

  /** The other end is gone: nobody waits for it any more, and nothing that was still on its way is believed. */
  close(): void {
    this.#isClosed = true
    for (const id of [...this.#open.keys()]) this.#fail(id, 'the other end is gone')
  }

  async #answer(handler: (body: never) => unknown, body: unknown, id: number | undefined): Promise<void> {
    try {
      const answer = await handler(body as never)
      if (id !== undefined && !this.#isClosed) this.#send({ to: id, body: answer })
    } catch {
      if (id !== undefined && !this.#isClosed) this.#send({ to: id, failed: true })
    }
  }

  #settle(id: number): Open | undefined {
    const open = this.#open.get(id)
    this.#open.delete(id)
    if (open !== undefined) clearTimeout(open.timer)
    return open
  }

  #fail(id: number, why: string): void {
    const open = this.#settle(id)
    open?.reject(new NoAnswer(open.subject, why))
  }
}
