export function openApiText(version: string): string { return version; }
