import fc from 'fast-check';
import { watchThisProcess } from './secrets.ts';

// A gate that says no must say it again when it is asked again: there the random cases are always the same ones. Everywhere else they are new each time.
if (process.env['CI']) fc.configureGlobal({ ...fc.readConfigureGlobal(), seed: 20261121 });
watchThisProcess();
