import { type Assessment, type AssessmentFacts, assessClient } from '../client/assessment.ts'
import type { Client } from '../client/client.ts'
import type { Store } from '../store/store.ts'
import type { Command, CommandContext } from './command.ts'
import { describeClient, describeSecret } from './describe.ts'
import { getClient } from './lookup.ts'
import { printObject } from './print.ts'

export const clientShow: Command = {
  name: 'client show',
  summary: 'show one client: how it proves itself, what it may get, and what is weak about it',
  arguments: [{ name: '<id>', description: 'its client_id' }],
  example: 'mayfly client show billing',
  async run(context, [clientId = '']) {
    const store = await context.openStore()
    const client = await getClient(store, clientId)
    const facts = await readFacts(context, store, client)
    const { weakPoints, ...assessment } = assessClient(client, facts)
    const weak = weakPoints.map((point) => point.text.replaceAll('`mayfly ', `\`${context.program} `))
    const { jwks, ...rest } = describeClient(client)
    const described = {
      ...rest,
      ...(facts.issuedThisHour === undefined ? {} : { tokens_this_hour: facts.issuedThisHour }),
    }
    const { text } = printObject(described, linesOf(assessment, weak))
    return {
      json: {
        ...described,
        ...(jwks === undefined ? {} : { jwks }),
        secrets: client.secrets.map(describeSecret),
        proves_itself_by: assessment.provesItselfBy,
        may_get: assessment.mayGet,
        weak_points: weak,
      },
      text,
    }
  },
}

async function readFacts({ now, settings }: CommandContext, store: Store, client: Client): Promise<AssessmentFacts> {
  const found = await Promise.all(client.audiences.map((uri) => store.findResource(uri)))
  const { accessTokenTtlSeconds, accessTokenMaxTtlSeconds } = settings
  return {
    now: now(),
    resources: found.flatMap(({ value }) => value ?? []),
    accessTokenTtlSeconds,
    accessTokenMaxTtlSeconds,
    ...(client.tokensPerHour === undefined
      ? {}
      : { issuedThisHour: (await store.readHourlyCount(client.clientId)).issued }),
  }
}

function linesOf(
  { provesItselfBy, mayGet }: Pick<Assessment, 'provesItselfBy' | 'mayGet'>,
  weakPoints: readonly string[],
): readonly string[] {
  return [
    ...['', 'It proves itself by'],
    ...provesItselfBy.map(indent),
    ...['', 'It may get'],
    ...mayGet.map(indent),
    ...['', weakPoints.length === 0 ? 'Nothing about it is known to be weak.' : 'What is weak about it'],
    ...weakPoints.map(indent),
  ]
}

function indent(line: string): string {
  return `  ${line}`
}
