// What Grafana itself sets up before it draws a panel. The import of this module comes before those of the components.

import { standardTransformers, standardTransformersRegistry } from "@grafana/data";

window.grafanaBootData = { settings: { featureToggles: {} }, user: {} };
window.__grafana_public_path__ = "public/";


// Some transformers have two names in the list.
const transformers = new Set(Object.values(standardTransformers));
const registered = new Map([...transformers].map((transformer) => [transformer.id, transformer]));
standardTransformersRegistry.setInit(() =>
    [...registered.values()].map((transformation) => ({ id: transformation.id, name: transformation.id, transformation })),
);
