/** Raises the witness again and again and says so, a line for each: the counter `registry` of one store, from a value on. */
import { Witness } from '../../src/store/witness.ts'

const [file = '', storeId = '', from = '0', step = '1'] = process.argv.slice(2)
const witness = new Witness(file)

for (let registry = Number(from); ; registry += Number(step)) {
  await witness.raise(storeId, { registry, mark: 1 })
  process.stdout.write(`${registry}\n`)
}
