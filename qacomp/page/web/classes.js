/** Names of classes: of the data sets that come with qacomp, since a container has none. */

const CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/** Return the name of class `place`: its number, unless the metadata tell a known data set. */
export function className(place, metadata) {
  const data = String(metadata?.data ?? "").split(":")[0];
  if (data === "cifar10" && place < CIFAR10.length) return CIFAR10[place];
  return ["mnist", "digits"].includes(data) && place < 10 ? `digit ${place}` : `class ${place}`;
}
