// The command-line side's SBOM validator: ajv, the official JavaScript library. node ajv.cjs MODULES SCHEMAS FILE
const { readFileSync } = require("node:fs");
const { createRequire } = require("node:module");
const [modules, schemas, file] = process.argv.slice(2);
const load = createRequire(modules + "/");
const Ajv = load("ajv");
const ajv = new (Ajv.default || Ajv)({ strict: false, validateFormats: true, allErrors: false, logger: false });
load("ajv-formats").default(ajv);
load("ajv-formats-draft2019")(ajv);
const read = (path) => JSON.parse(readFileSync(path, "utf8"));
for (const name of ["spdx", "jsf-0.82"]) {
  ajv.addSchema(read(`${schemas}/${name}.SNAPSHOT.schema.json`), `http://cyclonedx.org/schema/${name}.SNAPSHOT.schema.json`);
}
const validate = ajv.compile(read(`${schemas}/bom-1.5.SNAPSHOT.schema.json`));
if (!validate(read(file))) {
  console.error(validate.errors);
  process.exit(1);
}
