// Verify one Sigstore bundle with the npm implementation, which shares no code with ours.
// node verify_bundle.js MODULES TRUSTED_ROOT BUNDLE ARTIFACT IDENTITY ISSUER; ARTIFACT "-" for a DSSE bundle.
const { createRequire } = require("node:module");
const { readFileSync } = require("node:fs");

const [modules, rootFile, bundleFile, artifactFile, identity, issuer] = process.argv.slice(2);
const load = createRequire(`${modules}/package.json`);
const { bundleFromJSON } = load("@sigstore/bundle");
const { TrustedRoot } = load("@sigstore/protobuf-specs");
const { Verifier, toSignedEntity, toTrustMaterial } = load("@sigstore/verify");

const read = (name) => JSON.parse(readFileSync(name, "utf8"));
const exactly = (text) => `^${text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}$`;
const artifact = artifactFile === "-" ? undefined : readFileSync(artifactFile);
const verifier = new Verifier(toTrustMaterial(TrustedRoot.fromJSON(read(rootFile))));
try {
  const policy = { subjectAlternativeName: exactly(identity), extensions: { issuer } };
  const signer = verifier.verify(toSignedEntity(bundleFromJSON(read(bundleFile)), artifact), policy);
  console.log(`accepted ${signer.identity.subjectAlternativeName}`);
} catch (error) {
  console.log(`refused ${error.code}: ${error.message}`);
  process.exit(1);
}
