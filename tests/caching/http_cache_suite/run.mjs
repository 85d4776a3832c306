// Runs the public suite of HTTP caches against a base URL, and writes what came of it as JSON.
//
//     node run.mjs FOLDER-OF-http-cache-tests BASE-URL [TEST-ID]
//
// The suite is "http-cache-tests" of npm, by Mark Nottingham (BSD-3-Clause). Its own command line (cli.mjs) leaves out
// the tests of private caches; here they run too, each row saying whom it asks.
import { createRequire } from 'module'
import path from 'path'
import { pathToFileURL } from 'url'

const [, , folder, base, only] = process.argv
const load = file => import(pathToFileURL(path.join(folder, file)).href)

const { runTests, getResults } = await load('client/runner.mjs')
const { determineTestResult } = await load('lib/display.mjs')
const { default: suites } = await load('tests/index.mjs')
const fetch = createRequire(path.join(folder, 'cli.mjs'))('node-fetch')

// Surrogates (CDNs) are left out, as in tests/index.mjs.
const shared = /\bshared\b/i
const rows = suites.flatMap(suite => suite.tests.map(test => ({ suite, test })))
const wanted = only === undefined ? rows : rows.filter(row => row.test.id === only)
wanted.forEach(({ test }) => {
  test.audience = shared.test(test.name) ? 'shared' : test.browser_only ? 'private' : 'any'
  if (only !== undefined) test.dump = true
  delete test.browser_only
})

// The cache mode of fetch() is for the cache: the proxy takes it from a field, and does not forward that. The fields
// that the suite sends where there is no cache mode ("nothing-to-see-here") are not for these requests.
function throughProxy (url, init) {
  if (init && ['no-cache', 'reload', 'force-cache'].includes(init.cache)) {
    init.headers = init.headers.filter(([name]) => !['Pragma', 'Cache-Control'].includes(name))
    init.headers.push(['X-Cache-Mode', init.cache])
  }
  return fetch(url, init)
}

await runTests([{ tests: wanted.map(row => row.test) }], throughProxy, false, base)
const results = getResults()
process.stdout.write(JSON.stringify(wanted.map(({ suite, test }) => ({
  group: suite.name,
  id: test.id,
  name: test.name,
  kind: test.kind || 'required',
  audience: test.audience,
  passed: results[test.id] === true,
  standing: ['✅', 'Y'].includes(determineTestResult(suites, test.id, results)[2]),
  message: results[test.id] === true ? '' : results[test.id].join(': ')
})), null, 1) + '\n')
