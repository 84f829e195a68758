// Reads resources of the Prometheus operator as a JSON list from standard input. Writes what is wrong with each of them:
// null, or the message of the validator that belongs to the resource definition.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [, , packages] = process.argv;
const results = [];
for (const { apiVersion, kind, ...content } of JSON.parse(readFileSync(0, "utf8"))) {
  const file = `${packages}/@kubernetes-models/prometheus-operator/${apiVersion}/${kind}.js`;
  const { [kind]: Model } = await import(pathToFileURL(file));
  try {
    new Model(content).validate();
    results.push(null);
  } catch (error) {
    results.push(String(error));
  }
}
console.log(JSON.stringify(results));
