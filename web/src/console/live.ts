/** What several parts of the page read from the feed. */
export { alerts, link, money, queue, scenario, transitions } from './feed';
import { processes } from './feed';

export const unreachableNow = (): string[] => (processes.value.unreachable ?? []).map((one) => one.name);
