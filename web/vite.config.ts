import { defineConfig } from 'vite';

/**
 * One build per page (`--mode storefront`, `--mode console`), so that neither loads code that only the other needs.
 * File names have no hash: the program embeds them by name and serves them with an ETag.
 */
export default defineConfig(({ mode }) => ({
  base: '/assets/',
  publicDir: false,
  build: {
    outDir: '../src/pages/dist',
    emptyOutDir: false,
    assetsDir: '',
    modulePreload: false,
    cssCodeSplit: false,
    target: 'es2022',
    rollupOptions: {
      input: mode === 'console' ? 'console.html' : 'storefront.html',
      output: {
        entryFileNames: '[name].js',
        assetFileNames: () => (mode === 'console' ? 'console[extname]' : 'storefront[extname]'),
        inlineDynamicImports: true,
      },
    },
  },
}));
